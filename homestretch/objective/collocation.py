"""Points held out, the precision, and what else least squares tells the loop between iterations."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from homestretch import vectors
from homestretch.objective.drawing import Drawing
from homestretch.objective.guards import explain_floor, warn_of_broadcast, warn_of_overfit, warn_of_strangers, widened
from homestretch.objective.held_out import HeldOut, HeldOutWatch
from homestretch.objective.living import Recent
from homestretch.objective.points import Points
from homestretch.objective.redraw import Redraw


class Collocation(Drawing):
    """The part of :class:`~homestretch.objective.least_squares.LeastSquares` that lives between iterations.

    Attributes:
        seed: Decides draws, and which points are held out.
    """

    last_terms: dict[str, float]

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
        self._watch: HeldOutWatch | None = None
        if held_out is not None:
            self._watch = HeldOutWatch(held_out if isinstance(held_out, HeldOut) else HeldOut(held_out), points, seed)
            points = self._watch.fitted
        super().__init__(parameters, model, points, redraw=redraw, seed=seed, jacobian_memory=jacobian_memory, flops=flops)
        self._seen = Recent()
        self._latest: tuple[int, dict[str, float]] = (-1, {})
        self._weighed = False  # whether the first residuals were looked at

    @abstractmethod
    def loss_at(self, points: Points) -> float:
        """The loss at other points, not counted."""

    # --- the loop asks (homestretch.objective.living) ---

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

    def redraw(self, points: Points = None) -> None:
        """Take the residuals at other points from now on, or of another equation; whoever minimises is told by ``version``.

        Args:
            points: The new points; without them every set that has a rule is drawn by it.

        Raises:
            ValueError: If the residual function was given no points, or there is no rule.
            TypeError: If the new points are arrays of numpy's.
        """
        super().redraw(points)
        if self._watch is not None:
            self._watch.renew()

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
        """Bring the points, those that are not fitted included, to another dtype for good."""
        super().cast_points(dtype)
        if self._watch is not None:
            self._watch.promote(dtype)

    def lengthen_points(self, dtype: torch.dtype) -> None:
        """Bring the points that are shorter to another dtype, until :meth:`shorten_points`."""
        super().lengthen_points(dtype)
        if self._watch is not None:
            self._watch.lengthen(dtype)

    def shorten_points(self) -> None:
        """Take :meth:`lengthen_points` back, for points drawn or given since too, after the parameters went back."""
        super().shorten_points()
        if self._watch is not None:
            self._watch.shorten(self.parameters)

    def weigh(self, terms: Mapping[str, Tensor]) -> None:
        """Once, at the first residuals with their graph: warn of what is likely to be wrong with the fit."""
        if self._weighed:
            return
        self._weighed = True
        if self.model is not None and not vectors.shard_groups(self.parameters):  # gathered parameters are others than shards
            warn_of_strangers(terms.values(), self.parameters, "the residual function")
        if self._kinds is not None:
            warn_of_broadcast(terms, self.points)
        if self.points is not None and self._watch is None and not self._rules:
            warn_of_overfit(self._size, self.samples, len(self.last_terms))

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs beside the model and the optimizer: points drawn or given, counts, held-out record."""
        return {**super().state_dict(), "held_out": self._watch.state_dict() if self._watch is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, in an objective made with the same arguments.

        Raises:
            ValueError: If that one has other rules.
        """
        if (state["held_out"] is None) != (self._watch is None):
            raise ValueError("the state is of an objective with another held_out: make it the same way")
        super().load_state_dict(state)
        if self._watch is not None:
            self._watch.load_state_dict(state["held_out"])
