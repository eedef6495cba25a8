"""Residuals at points that change: drawn anew by rules, handed over by the user, or in another dtype for a while."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from homestretch.objective.points import Points, cast, count_points, kinds_of, lengthened, recast, refuse_arrays
from homestretch.objective.products.residuals import ResidualProducts
from homestretch.objective.products.stacking import places
from homestretch.objective.redraw import Redraw, draw_generator

_ALL = ""  # the name of the only set of points where these are no dictionary


class Drawing(ResidualProducts):
    """The part of :class:`~homestretch.objective.least_squares.LeastSquares` that decides where the residuals are taken.

    Attributes:
        points: Where the residuals are taken now.
        version: Changes whenever the function does.
        change: What happened then.
        seed: Decides draws.
        draws: How often each set of points was drawn by its rule.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        model: nn.Module | None,
        points: Points,
        *,
        redraw: Redraw | Mapping[str, Redraw] | None,
        seed: int,
        jacobian_memory: float,
        flops: float | None,
    ) -> None:
        refuse_arrays(points)
        super().__init__(parameters, model, jacobian_memory, flops)
        self.version = 0
        self.change = ""
        self.points = points
        self.seed = seed
        self._rules = _rules(redraw, points)
        self.draws = dict.fromkeys(self._rules, 0)
        self._replaced = False  # whether points were given in place of those at the start
        self._kinds = kinds_of(points)  # their dtypes while nothing is promoted
        self._promoted = False
        self._residuals = 0  # at the latest evaluation
        self._begun = 0  # iterations begun

    @property
    def samples(self) -> int:
        """Number of residuals at the latest evaluation, over all terms."""
        return self._residuals or len(self.stacked())

    @abstractmethod
    def weight(self, name: str) -> float:
        """The weight of a term."""

    def redraw(self, points: Points = None) -> None:
        """Take the residuals at other points from now on, or draw those that have a rule."""
        if self.points is None:
            raise ValueError("points cannot be redrawn: the residual function was given none, so it holds them itself")
        if points is not None:
            self._replace(points)
        elif self._rules:
            self._draw_all(self._rules)
        else:
            raise ValueError("redraw needs points, or a rule given as LeastSquares(..., redraw=...)")

    def _replace(self, points: Points) -> None:
        refuse_arrays(points)
        self.points, self._replaced = points, True
        if not self._promoted:
            self._kinds = kinds_of(points)
        self.forget_jacobian_mode()  # drawn points come from the same domain as those before, these from anywhere
        self.changed("other points")

    def changed(self, what: str) -> None:
        """Note that the function is another one now."""
        self.version += 1
        self.change = what

    def _draw_all(self, names: Any) -> None:
        notes = [note for note in map(self._draw, list(names)) if note]
        if notes:
            self.changed("; ".join(notes))

    def _draw(self, name: str) -> str:
        rule, number = self._rules[name], self.draws[name] + 1
        current = self.points[name] if name else self.points
        generator = draw_generator(self.seed, number, list(self._rules).index(name))
        drawn = rule.draw(current, lambda pool: self._sizes(name, pool), generator)
        if drawn is None:
            return ""
        self.draws[name] = number
        self.points = {**self.points, name: drawn} if name else drawn
        return f"{f'points of {name!r}' if name else 'points'} {rule.how}, draw {number}"

    def _sizes(self, name: str, pool: Points) -> Tensor:
        """The residual's size at each point of a pool, over all terms that are taken there."""
        count = count_points(pool) or 0
        points = {**self.points, name: pool} if name else pool
        terms = self.forward(points)
        chosen = {key: terms[key] for key, place in places(terms, points).items() if place == name} if name else terms
        if not chosen or not all(r.ndim and len(r) == count for r in chosen.values()):
            raise ValueError(
                f"points{f' of {name!r}' if name else ''} cannot be drawn by residual: the first dimension of the residuals "
                "taken there must count their points; a term is taken at the set of its name, or the only other of its length"
            )
        # All terms were evaluated, those that are not taken at the pool too.
        self.meter.count_forward(sum(r.numel() for r in terms.values()) / max(self.samples, 1))
        squares = [self.weight(key) * r.reshape(count, -1).square().sum(1) for key, r in chosen.items()]
        return torch.stack(squares).sum(0).sqrt()

    def advance(self) -> None:
        """An iteration begins: draw the points that are due."""
        due = [name for name, rule in self._rules.items() if self._begun and self._begun % rule.every == 0]
        self._begun += 1
        self._draw_all(due)

    # --- dtypes ---

    def cast_points(self, dtype: torch.dtype) -> None:
        """Bring the points to another dtype for good."""
        self.points = cast(self.points, dtype)
        self._kinds = kinds_of(self.points)

    def lengthen_points(self, dtype: torch.dtype) -> None:
        """Bring the points that are shorter to another dtype, until :meth:`shorten_points`."""
        self.points = lengthened(self.points, dtype)
        self._promoted = True

    def shorten_points(self) -> None:
        """Take :meth:`lengthen_points` back, for points drawn or given since too, after the parameters went back."""
        self.points = recast(self.points, self._kinds, self.parameters[0].dtype)
        self._promoted = False

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """The points drawn or given, the counts, and how products are made."""
        drawn = {name: self.points[name] if name else self.points for name, n in self.draws.items() if n}
        return {
            "version": self.version,
            "products": self.product_modes(),
            "begun": self._begun,
            "draws": dict(self.draws),
            "points": drawn,
            "replaced": self.points if self._replaced else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, in an objective made with the same arguments.

        Raises:
            ValueError: If that one has other rules.
        """
        if state["draws"].keys() != self._rules.keys():
            raise ValueError("the state is of an objective with other redraw rules: make it the same way")
        self.version, self._begun, self.draws = int(state["version"]), int(state["begun"]), dict(state["draws"])
        self.take_product_modes(state["products"])
        self._replaced = state["replaced"] is not None
        if self._replaced:
            self.points = state["replaced"]
        for name, points in state["points"].items():
            self.points = {**self.points, name: points} if name else points


def _rules(redraw: Redraw | Mapping[str, Redraw] | None, points: Points) -> dict[str, Redraw]:
    """The rules by the names of their points.

    Raises:
        TypeError: If they are none.
        ValueError: If they do not go with the points.
    """
    if redraw is None:
        return {}
    if points is None:
        raise ValueError("redraw needs points: hand them to LeastSquares instead of keeping them in the residual function")
    if isinstance(redraw, Redraw):
        if isinstance(points, dict):
            raise ValueError(f"points are sets by name: give redraw as a dictionary too, with keys among {', '.join(points)}")
        return {_ALL: redraw}
    if not isinstance(redraw, Mapping) or not all(isinstance(rule, Redraw) for rule in redraw.values()):
        raise TypeError(
            f"redraw must be a rule such as UniformRedraw(domain, every=100), or rules by the names of sets, got {redraw!r}"
        )
    unknown = sorted(redraw.keys() - points.keys()) if isinstance(points, dict) else sorted(redraw)
    if unknown:
        raise ValueError(f"redraw names points that there are none of: {', '.join(unknown)}")
    return dict(redraw)
