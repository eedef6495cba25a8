r"""Collocation points drawn anew while a fit runs: uniformly, or where the residual is large.

With the residual's size :math:`\epsilon(x)` at a pool of points drawn uniformly, the rules are those of C. Wu, M. Zhu, Q. Tan,
Y. Kartha, L. Lu, "A comprehensive study of non-adaptive and residual-based adaptive sampling for physics-informed neural
networks", CMAME 403 (2023), arXiv:2207.10289:

- **RAD** (their algorithm 2): all points anew, drawn from the pool without replacement with odds
  :math:`\epsilon^k / \overline{\epsilon^k} + c`;
- **RAR-D** and **RAR-G** (algorithms 3 and 1): points are added, by the same odds or those of the largest residual.

A draw depends on the seed, the draw's number, and for residual-based rules on the network, and on nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from homestretch import arguments
from homestretch.errors import NonFiniteError
from homestretch.objective.points import Points, count_points, leaf, over, zipped

Sizes = Callable[[Points], Tensor]
"""The residual's size at each of some points, shape (N,)."""


class Domain(Protocol):
    """Where points come from: ``domain(count, generator)`` draws that many, uniformly, from the generator alone."""

    def __call__(self, count: int, generator: torch.Generator) -> Any:
        """``count`` points: a tensor, or tuples, lists and dictionaries of tensors with that first dimension."""
        ...


@dataclass(frozen=True)
class Box:
    """A product of intervals.

    Attributes:
        low: Lower ends: numbers, or an array or a tensor of one dimension.
        high: Upper ends.

    Raises:
        TypeError: If the ends are no numbers, one for each interval.
        ValueError: If they do not make intervals.
    """

    low: Sequence[float]
    high: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _ends(name, getattr(self, name)))
        if len(self.low) != len(self.high) or not self.low or not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"low and high must be the ends of the same number of intervals, got {self.low} and {self.high}")

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` points, shape (count, n), float64."""
        low, high = (torch.tensor(list(ends), dtype=torch.float64) for ends in (self.low, self.high))
        return low + (high - low) * torch.rand(count, len(low), generator=generator, dtype=torch.float64)


def _ends(name: str, values: Any) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must hold one number for each interval, got {values!r}: Box([0.0], [1.0]) is one interval"
        ) from error


@dataclass(frozen=True)
class Redraw(ABC):
    """A rule for new points.

    Attributes:
        domain: Where they come from.
        every: Iterations (epochs before the swap, which are iterations too) between two draws.
    """

    domain: Domain
    every: int
    how: ClassVar[str]  # for the record: "points ..."

    def __post_init__(self) -> None:
        arguments.count("every", self.every)

    @abstractmethod
    def draw(self, points: Points, sizes: Sizes, generator: torch.Generator) -> Points | None:
        """New points in place of ``points``, with the same structure; ``None`` to keep those."""


@dataclass(frozen=True)
class UniformRedraw(Redraw):
    """As many points as before, all anew, uniformly.

    Attributes:
        domain: Where they come from.
        every: Iterations between two draws.
    """

    how: ClassVar[str] = "drawn uniformly"

    def draw(self, points: Points, sizes: Sizes, generator: torch.Generator) -> Points:
        """New points."""
        count = _count(points)
        found = _enough(_like(self.domain(count, generator), points), count, count)
        return over(found, lambda t: leaf(t[:count], t))


@dataclass(frozen=True)
class ResidualRedraw(Redraw):
    """As many points as before, all anew, more of them where the residual is large (RAD).

    Attributes:
        domain: Where they come from.
        every: Iterations between two draws.
        power: k, how much the residual counts.
        floor: c, how much the uniform density counts.
        pool: Points of the pool for each one drawn.
    """

    power: float = 1.0
    floor: float = 1.0
    pool: int = 5
    how: ClassVar[str] = "drawn by residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        arguments.count("pool", self.pool)
        _check_odds(self.power, self.floor)

    def draw(self, points: Points, sizes: Sizes, generator: torch.Generator) -> Points:
        """New points."""
        count = _count(points)
        pool = _enough(_like(self.domain(self.pool * count, generator), points), self.pool * count, count)
        return _take(pool, _sample(_odds(sizes(pool), self.power, self.floor), count, generator))


@dataclass(frozen=True)
class ResidualRefinement(Redraw):
    """Points added where the residual is large (RAR-G and RAR-D).

    Attributes:
        domain: Where they come from.
        every: Iterations between two draws.
        add: Points added by each.
        limit: No more than this many points in all.
        power: ``None`` takes the largest residuals (RAR-G); a number k draws by odds (RAR-D; its authors take 2).
        floor: c of the odds.
        pool: Points of the pool for each one added.
    """

    add: int = 10
    limit: int | None = None
    power: float | None = None
    floor: float = 0.0
    pool: int = 100
    how: ClassVar[str] = "added by residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("add", "pool"):
            arguments.count(name, getattr(self, name))
        if self.limit is not None:
            arguments.count("limit", self.limit)
        _check_odds(1.0 if self.power is None else self.power, self.floor)

    def draw(self, points: Points, sizes: Sizes, generator: torch.Generator) -> Points | None:
        """The points and some more, as far as the limit lets them."""
        count = _count(points)
        add = self.add if self.limit is None else min(self.add, self.limit - count)
        if add < 1:
            return None
        pool = _enough(_like(self.domain(self.pool * add, generator), points), self.pool * add, add)
        if self.power is None:
            chosen = _finite(sizes(pool)).topk(add).indices.cpu()
        else:
            chosen = _sample(_odds(sizes(pool), self.power, self.floor), add, generator)
        return zipped(points, _take(pool, chosen), lambda a, b: leaf(torch.cat([a, b]), a))


def draw_generator(seed: int, number: int, place: int) -> torch.Generator:
    """The generator of draw ``number`` of the ``place``-th set of points: it depends on these three alone."""
    mixed = seed * 0x9E3779B1 + number * 0x85EBCA77 + place * 0xC2B2AE3D + 2
    return torch.Generator().manual_seed(mixed % 2**63)


def _finite(sizes: Tensor) -> Tensor:
    """Sizes or weights as they are; NaN would pass for the largest."""
    if not bool(torch.isfinite(sizes).all()):
        raise NonFiniteError("points cannot be drawn by residual: it is not finite at some points of the domain")
    return sizes


def _odds(sizes: Tensor, power: float, floor: float) -> Tensor:
    weights = _finite(sizes.detach().to("cpu", torch.float64).abs() ** power)
    mean = float(weights.mean())
    if mean == 0.0:
        return torch.ones_like(weights)
    # A point of residual zero keeps a trace of a chance, so that enough points can always be found.
    return (weights / mean + floor).clamp_min(1e-12)


def _sample(odds: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.multinomial(odds, count, generator=generator)


def _check_odds(power: float, floor: float) -> None:
    arguments.at_least("power", power, 0.0)
    arguments.at_least("floor", floor, 0.0)


def _count(points: Points) -> int:
    count = count_points(points)
    if not count:
        raise ValueError("points can be redrawn only where all tensors of a set share their first dimension, their number")
    return count


def _take(points: Points, chosen: Tensor) -> Points:
    return over(points, lambda t: leaf(t[chosen.to(t.device)], t))


def _like(points: Points, known: Points) -> Points:
    """Drawn points with the dtype and the device of those that they replace, differentiable if those are."""
    return zipped(points, known, lambda new, old: leaf(_shaped(new, old).to(old.device, old.dtype), old))


def _shaped(new: Tensor, old: Tensor) -> Tensor:
    if new.shape[1:] != old.shape[1:]:
        raise ValueError(f"domain must draw points of shape {('count', *old.shape[1:])}, got {tuple(new.shape)}")
    return new


def _enough(drawn: Points, asked: int, needed: int) -> Points:
    """Points that a domain drew, if there are enough of them: one that drops some would leave fewer with every draw."""
    found = count_points(drawn) or 0
    if found < needed:
        raise ValueError(
            f"domain must draw as many points as it is asked for, got {found} for {asked}: where it drops those outside of a "
            "region, let it draw on until there are enough"
        )
    return drawn
