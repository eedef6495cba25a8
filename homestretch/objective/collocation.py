"""Points that change, points held out, and what else least squares tells the loop between iterations."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from homestretch.objective.guards import explain_floor, promoted, warn_of_overfit, widened
from homestretch.objective.held_out import HeldOut, HeldOutWatch
from homestretch.objective.living import Recent
from homestretch.objective.products.jacobian import Points, count_points
from homestretch.objective.products.residuals import ResidualProducts
from homestretch.objective.redraw import Redraw, draw_generator

_ALL = ""  # the name of the only set of points where these are no dictionary


class Collocation(ResidualProducts):
    """The part of :class:`~homestretch.objective.least_squares.LeastSquares` that lives between iterations.

    Attributes:
        points: Where the residuals are taken now.
        version: Changes whenever the function does.
        change: What happened then.
        seed: Decides draws, and which points are held out.
        draws: How often each set of points was drawn by its rule.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        model: nn.Module | None,
        points: Points,
        *,
        redraw: Redraw | Mapping[str, Redraw] | None,
        held_out: HeldOut | float | None,
        seed: int,
        jacobian_memory: float,
        flops: float | None,
    ) -> None:
        super().__init__(parameters, model, jacobian_memory, flops)
        self.version = 0
        self.change = ""
        self.points = points
        self._watch: HeldOutWatch | None = None
        if held_out is not None:
            self._watch = HeldOutWatch(held_out if isinstance(held_out, HeldOut) else HeldOut(held_out), points, seed)
            self.points = self._watch.fitted
        self._rules = _rules(redraw, points)
        self.draws = dict.fromkeys(self._rules, 0)
        self.seed = seed
        self._replaced = False  # whether points were given in place of those at the start
        self._residuals = 0  # at the latest evaluation
        self._begun = 0  # iterations begun
        self._seen = Recent()
        self._latest: tuple[int, dict[str, float]] = (-1, {})
        self._weighed = False  # parameters against residuals

    @property
    def samples(self) -> int:
        """Number of residuals at the latest evaluation, over all terms."""
        return self._residuals or len(self.stacked())

    @abstractmethod
    def loss_at(self, points: Points) -> float:
        """The loss at other points, not counted."""

    @abstractmethod
    def weight(self, name: str) -> float:
        """The weight of a term."""

    # --- points ---

    def redraw(self, points: Points = None) -> None:
        """Take the residuals at other points from now on; whoever minimises is told by :attr:`version`.

        Args:
            points: The new points; without them every set that has a rule is drawn by it.

        Raises:
            ValueError: If the residual function was given no points, or there is no rule.
        """
        if self.points is None:
            raise ValueError("points cannot be redrawn: the residual function was given none, so it holds them itself")
        if points is not None:
            self.points, self._replaced = points, True
            self.changed("other points")
        elif self._rules:
            self._draw_all(self._rules)
        else:
            raise ValueError("redraw needs points, or a rule given as LeastSquares(..., redraw=...)")

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
        terms = self.forward({**self.points, name: pool} if name else pool)
        chosen = {name: terms[name]} if name in terms else terms
        if not all(r.ndim and len(r) == count for r in chosen.values()):
            raise ValueError("points cannot be drawn by residual: the first dimension of the residuals must count their points")
        self.meter.count_forward(sum(r.numel() for r in chosen.values()) / max(self.samples, 1))
        squares = [self.weight(key) * r.reshape(count, -1).square().sum(1) for key, r in chosen.items()]
        return torch.stack(squares).sum(0).sqrt()

    # --- the loop asks (homestretch.objective.living) ---

    def advance(self) -> None:
        """An iteration begins: draw the points that are due."""
        due = [name for name, rule in self._rules.items() if self._begun and self._begun % rule.every == 0]
        self._begun += 1
        self._draw_all(due)

    def measure(self, loss: float) -> dict[str, float]:
        """The loss of each term where the loss is ``loss``, and the held-out loss if it is due."""
        if self._latest[0] == self._begun:  # asked for by the iteration's record, then by the epoch's
            return dict(self._latest[1])
        terms = self._seen.at(loss) or {}
        self._seen.note(loss, terms)
        numbers = {f"loss/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        watch = self._watch
        held_out = watch.measure(lambda: self.loss_at(watch.points), self.parameters) if watch is not None else None
        if held_out is not None:
            numbers["held_out_loss"] = held_out
        self._latest = (self._begun, numbers)
        return dict(numbers)

    def why_stop(self) -> str:
        """Why the held-out residual asks for the end; empty while it does not."""
        return self._watch.why_stop() if self._watch is not None else ""

    def finish(self) -> bool:
        """At the end: back to the lowest held-out residual, if that may stop the fit; says whether parameters moved."""
        return self._watch is not None and self._watch.plan.patience is not None and self.restore_best()

    def restore_best(self) -> bool:
        """Put the parameters where the held-out residual was lowest; says whether they moved."""
        if self._watch is None:
            raise ValueError("there is no held-out residual: give one as LeastSquares(..., held_out=...)")
        return self._watch.restore(self.parameters)

    def diagnose(self) -> str:
        """Whether a search found nothing because the loss is at the floor of a short dtype; empty if not."""
        dtype = self.parameters[0].dtype
        return "" if dtype == torch.float64 else explain_floor(self.loss_at(self.points), self.rounding(), dtype)

    def rounding(self) -> float:
        r""":math:`\|\rho - \hat\rho\|^2` with :math:`\hat\rho` in float64: what rounding does to the residuals.

        NaN where the residuals cannot be had in float64: without points, or where the residual function does not take its
        model from its argument.
        """
        if self.model is None or self.points is None:
            return math.nan
        with torch.no_grad():
            ours = self.stacked()
        model, points = self.model, self.points
        try:
            self.model, self.points = widened(model, points)
            with torch.no_grad():
                exact = self.stacked()
        except RuntimeError:  # dtypes that do not meet
            return math.nan
        finally:
            self.model, self.points = model, points
        return float((ours.double() - exact).square().sum())

    def promote(self, dtype: torch.dtype = torch.float64) -> None:
        """Bring parameters, model and points to another dtype for good; minimisers keep what they learned where it still holds.

        :func:`homestretch.promote` does the same for a while, for an ``Objective`` too.
        """
        for p in self.parameters:
            p.grad = None
            p.data = p.data.to(dtype)
        if self.model is not None:
            self.model.to(dtype)
        self.cast_points(dtype)
        self.changed(f"promoted to {str(dtype).removeprefix('torch.')}")

    def cast_points(self, dtype: torch.dtype) -> None:
        """Bring the points, those that are not fitted included, to another dtype."""
        self.points = promoted(self.points, dtype)
        if self._watch is not None:
            self._watch.promote(dtype)

    def weigh(self) -> None:
        """Once: warn if there are more parameters than residuals, and nothing else looks between the points."""
        if not self._weighed:
            self._weighed = True
            if self.points is not None and self._watch is None and not self._rules:
                warn_of_overfit(self._size, self.samples)

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs beside the model and the optimizer: points drawn or given, counts, held-out record."""
        drawn = {name: self.points[name] if name else self.points for name, n in self.draws.items() if n}
        return {
            "version": self.version,
            "products": self.product_modes(),
            "begun": self._begun,
            "draws": dict(self.draws),
            "points": drawn,
            "replaced": self.points if self._replaced else None,
            "held_out": self._watch.state_dict() if self._watch is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, in an objective made with the same arguments.

        Raises:
            ValueError: If that one has other rules.
        """
        if state["draws"].keys() != self._rules.keys() or (state["held_out"] is None) != (self._watch is None):
            raise ValueError("the state is of an objective with other redraw rules or another held_out: make it the same way")
        self.version, self._begun, self.draws = int(state["version"]), int(state["begun"]), dict(state["draws"])
        self.take_product_modes(state["products"])
        self._replaced = state["replaced"] is not None
        if self._replaced:
            self.points = state["replaced"]
        for name, points in state["points"].items():
            self.points = {**self.points, name: points} if name else points
        if self._watch is not None:
            self._watch.load_state_dict(state["held_out"])


def _rules(redraw: Redraw | Mapping[str, Redraw] | None, points: Points) -> dict[str, Redraw]:
    """The rules by the names of their points."""
    if redraw is None:
        return {}
    if points is None:
        raise ValueError("redraw needs points: hand them to LeastSquares instead of keeping them in the residual function")
    if isinstance(redraw, Redraw):
        if isinstance(points, dict):
            raise ValueError(f"points are sets by name: give redraw as a dictionary too, with keys among {', '.join(points)}")
        return {_ALL: redraw}
    unknown = sorted(redraw.keys() - points.keys()) if isinstance(points, dict) else sorted(redraw)
    if unknown:
        raise ValueError(f"redraw names points that there are none of: {', '.join(unknown)}")
    return dict(redraw)
