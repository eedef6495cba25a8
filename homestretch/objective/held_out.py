"""Residuals at points that are not fitted: what a fit is worth between its own points."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from homestretch import arguments, vectors
from homestretch.objective.batches import permutation
from homestretch.objective.points import (
    Points,
    cast,
    count_points,
    kinds_of,
    leaf,
    lengthened,
    over,
    recast,
    refuse_arrays,
    zipped,
)
from homestretch.objective.products.swapping import kept
from homestretch.vectors import Vector

_SHUFFLE = -3  # the number of the permutation that splits points, which no epoch has


@dataclass(frozen=True)
class HeldOut:
    """How the held-out residual is watched.

    Attributes:
        points: A fraction of the points of each set, taken out of the fit at the start, or points of their own, in the
            structure of the fitted ones. Of a set with a single point, an initial value for instance, the fit and the watch
            share that.
        every: Iterations between two evaluations.
        patience: Evaluations in a row without a new lowest value after which the method stops and goes back to the parameters
            of the lowest one; ``None`` to watch only. The first phase of a ``TwoPhase`` is watched only, so that what Adam did
            not gain does not end the convex phase before it began.

    Raises:
        ValueError: If a number is out of range.
    """

    points: Any
    every: int = 10
    patience: int | None = None

    def __post_init__(self) -> None:
        arguments.count("every", self.every)
        if self.patience is not None:
            arguments.count("patience", self.patience)
        if isinstance(self.points, numbers.Real) and not 0.0 < float(self.points) < 1.0:
            raise ValueError(f"held-out points must be a fraction between 0 and 1 or points, got {self.points}")


class HeldOutWatch:
    """The held-out residual of one fit.

    Args:
        plan: How it is watched.
        points: The fitted points, of which a fraction may be asked for.
        seed: Decides which of them are held out.

    Attributes:
        fitted: The points that are left to the fit.
        points: The held-out points.
        best: The lowest value so far.
        parameters: Where it was.
    """

    def __init__(self, plan: HeldOut, points: Points, seed: int) -> None:
        if points is None:
            raise ValueError("held_out needs points: hand them to LeastSquares, outside the residual function")
        self.plan = plan
        self.fitted, self.points = points, plan.points
        if isinstance(plan.points, numbers.Real):
            self.fitted, self.points = _split(points, float(plan.points), seed)
        else:
            _check_structure(points, plan.points)
        self._kinds = kinds_of(self.points)  # their dtypes while nothing is promoted
        self.best = math.inf
        self.parameters: Vector | None = None
        self._measured = 0
        self._since = 0
        self._asked = False  # whether somebody would have stopped since the latest evaluation
        self._doubtful = False  # whether the lowest value may be that of another function

    @torch.no_grad()
    def measure(self, value: Callable[[], float], parameters: Sequence[Tensor]) -> float | None:
        """The held-out residual if it is due, and note where it is lowest."""
        due = self._measured % self.plan.every == 0
        self._measured += 1
        if not due:
            return None
        self._measure_lowest_anew(value, parameters)
        found = value()
        if found < self.best:
            self.best, self._since = found, 0
            self.parameters = vectors.clone(vectors.locals_of(parameters))
        else:
            self._since = self._since + 1 if self._asked else 0
        self._asked = False
        return found

    def why_stop(self) -> str:
        """Why the fit should end; empty while it should not. Only evaluations of a fit that asks count for the patience."""
        self._asked = True
        if self.plan.patience is None or self._since < self.plan.patience:
            return ""
        return f"the held-out residual has not fallen below {self.best:.3g} in {self._since} evaluations"

    def restore(self, parameters: Sequence[Tensor]) -> bool:
        """Put the parameters where the held-out residual was lowest; says whether that was another point."""
        local = vectors.locals_of(parameters)
        if self.parameters is None or all(torch.equal(a, b) for a, b in zip(local, self.parameters, strict=True)):
            return False
        with torch.no_grad():
            vectors.copy_(local, self.parameters)
        return True

    def renew(self) -> None:
        """The function may be another one: the patience begins anew, and the residual is taken again where it was lowest."""
        self._doubtful, self._since = True, 0

    def _measure_lowest_anew(self, value: Callable[[], float], parameters: Sequence[Tensor]) -> None:
        """Compare with the present function's value at the best parameters, not with that of the function which chose them."""
        if self._doubtful and self.parameters is not None:
            with kept(vectors.locals_of(parameters)) as (places, _):
                vectors.copy_(places, self.parameters)
                again = value()
            self.best = again if math.isfinite(again) else math.inf
        self._doubtful = False

    def promote(self, dtype: torch.dtype) -> None:
        """Bring points and parameters to another dtype."""
        self.points = cast(self.points, dtype)
        self.parameters = cast(self.parameters, dtype)
        self._kinds = kinds_of(self.points)

    def lengthen(self, dtype: torch.dtype) -> None:
        """Bring what is shorter to another dtype, until :meth:`shorten`."""
        self.points = lengthened(self.points, dtype)
        self.parameters = lengthened(self.parameters, dtype)

    def shorten(self, parameters: Sequence[Tensor]) -> None:
        """Take :meth:`lengthen` back; ``parameters`` have their old dtypes again."""
        self.points = recast(self.points, self._kinds, parameters[0].dtype)
        self.parameters = recast(self.parameters, list(parameters), parameters[0].dtype)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed fit needs; the split itself follows from the seed."""
        return {
            "best": self.best,
            "parameters": self.parameters,
            "measured": self._measured,
            "since": self._since,
            "doubtful": self._doubtful,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result."""
        self.best, self.parameters = float(state["best"]), state["parameters"]
        self._measured, self._since = int(state["measured"]), int(state["since"])
        self._doubtful = bool(state.get("doubtful", False))


def _split(points: Points, fraction: float, seed: int) -> tuple[Points, Points]:
    """Points to fit and points to hold out, in their old order; sets in a dictionary are split one by one."""
    if isinstance(points, dict):
        parts = {name: (p, p) if count_points(p) == 1 else _split(p, fraction, seed) for name, p in points.items()}
        if all(part[0] is part[1] for part in parts.values()):
            raise ValueError(
                "held_out as a fraction needs a set of two points or more: give held-out points of your own instead"
            )
        return {name: part[0] for name, part in parts.items()}, {name: part[1] for name, part in parts.items()}
    count = count_points(points) or 0
    if count < 2:
        raise ValueError(
            "held_out as a fraction needs sets of two points or more whose tensors share their first dimension: give held-out "
            "points of your own instead"
        )
    out = min(max(round(fraction * count), 1), count - 1)
    order = permutation(count, seed, _SHUFFLE)
    held, left = order[:out].sort().values, order[out:].sort().values
    return _rows(points, left), _rows(points, held)


def _check_structure(fitted: Points, points: Points) -> None:
    """Refuse held-out points that the residual function could not take.

    Raises:
        TypeError: If they are arrays of numpy's, or no points at all.
        ValueError: If their structure is another one than that of the fitted ones.
    """
    refuse_arrays(points)
    if kinds_of(fitted) is None:
        return  # the user's own kind of points
    if kinds_of(points) is None:
        raise TypeError(
            "held_out must be one fraction for all sets, points in the structure of the fitted ones, or a HeldOut of either, "
            f"got {points!r}"
        )
    try:
        zipped(fitted, points, lambda _, held: held)
    except ValueError as error:
        ours, theirs = (f"sets {', '.join(p)}" if isinstance(p, dict) else type(p).__name__ for p in (fitted, points))
        raise ValueError(
            f"held_out: points of their own must come in the structure of the fitted ones ({ours}), got {theirs}"
        ) from error


def _rows(points: Points, chosen: Tensor) -> Points:
    return over(points, lambda t: leaf(t[chosen.to(t.device)], t))
