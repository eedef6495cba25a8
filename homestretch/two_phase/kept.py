"""The best point of a convex phase that a run has gone back from: the run ends there unless it ends below it.

While the data of a convex phase grow, its steps lower the loss on a part of them, and that on all may rise: then it is the
best point by all the data, from the swap on, and the run goes back to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from homestretch.cost import FORWARD
from homestretch.descent import StopReason
from homestretch.objective import Objective
from homestretch.objective.statistics import tracking_layers
from homestretch.two_phase.hand_over import buffers_of, put_buffers, settle
from homestretch.two_phase.journal import measured, write_event

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase


class Kept:
    """A copy of the parameters, one vector more in memory once a run has gone back.

    Attributes:
        loss: The loss there, infinite while nothing is kept.
        version: Version of the function that the loss is of.
        parameters: The copy, one tensor a trainable parameter.
    """

    def __init__(self) -> None:
        self.loss, self.version = math.inf, 0
        self.parameters: list[Tensor] = []

    def offer(self, loss: float, parameters: Sequence[Tensor], version: int) -> None:
        """Keep the present parameters if their loss is finite, and lower than that of those kept, or of another function."""
        if math.isfinite(loss) and (loss < self.loss or version != self.version):
            self.loss, self.version = loss, version
            self.parameters = [p.detach().clone() for p in parameters]

    def drop(self) -> None:
        """Keep nothing."""
        self.loss, self.parameters = math.inf, []

    def better_than(self, loss: float, version: int) -> bool:
        """Whether a point is kept whose loss is lower, or finite where this is not, by the same version of the function."""
        return bool(self.parameters) and version == self.version and not loss <= self.loss

    def price(self, objective: Any) -> float:
        """What :func:`restore_best` will cost, in gradient-equivalents."""
        if not self.parameters or objective is None:
            return 0.0
        settles = isinstance(objective, Objective) and objective.mode == "eval" and bool(tracking_layers(objective.model))
        return FORWARD * (3 if settles else 2)

    @torch.no_grad()
    def put_back(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Exchange the parameters for those kept; returns a copy of what they were."""
        before = [p.detach().clone() for p in parameters]
        for p, value in zip(parameters, self.parameters, strict=True):
            p.copy_(value)
        return before

    def load(self, about: Mapping[str, Any], parameters: list[Tensor]) -> None:
        """Go on with what a state held."""
        self.loss, self.version, self.parameters = float(about["loss"]), int(about["version"]), parameters


def restore_best(optimizer: TwoPhase) -> float | None:
    """Put the parameters kept at a return back if the loss there is below the present one.

    It takes two forward passes, counted; three where batch norm's statistics have to be estimated for the point kept.

    Returns:
        The loss there; ``None`` if nothing is kept, there is no objective to compare by, or the present loss is lower.
    """
    kept, objective = optimizer.kept, optimizer.objective
    if not kept.parameters or objective is None or _ended_by_held_out(optimizer):
        return None
    function = optimizer.second_function(objective)
    loss, buffers, versions = function.loss(), buffers_of(objective), _versions(objective)
    before = kept.put_back(optimizer.trainable)
    settle(objective)
    best = function.loss()
    if best < loss or (math.isfinite(best) and not math.isfinite(loss)):
        message = f"the best point of the convex phase is back: its loss {best:.3g} is below {loss:.3g}"
        metrics = measured(optimizer)
        if isinstance(objective, Objective) and objective.mode == "train":
            objective.settle()  # so that the model can be put into eval mode
        write_event(optimizer, "restored", message, {"loss": best, **metrics})
        return best
    with torch.no_grad():
        for p, value in zip(optimizer.trainable, before, strict=True):
            p.copy_(value)
    put_buffers(objective, buffers)
    for name, value in versions.items():
        setattr(objective, name, value)
    return None


def _versions(objective: Any) -> dict[str, int]:
    return {name: getattr(objective, name) for name in ("version", "settled") if hasattr(objective, name)}


def _ended_by_held_out(optimizer: TwoPhase) -> bool:
    """Whether the convex phase has chosen its point by what is not fitted, which no training loss outweighs."""
    return optimizer.phase == "second" and optimizer.second.stop_reason is StopReason.HELD_OUT
