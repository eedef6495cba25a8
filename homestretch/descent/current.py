"""The current point of the loop: evaluated where something changed, remembered, the lowest one kept."""

from __future__ import annotations

import math
from typing import Any

import torch

from homestretch import vectors
from homestretch.descent.contract import TorchContract
from homestretch.descent.rounding import allowance, watch_dtype
from homestretch.descent.stop import StopReason
from homestretch.directions.base import Point
from homestretch.errors import NonFiniteError
from homestretch.objective import living
from homestretch.objective.base import Function


class CurrentPoint(TorchContract):
    """The part of :class:`~homestretch.descent.loop.Descent` that knows where it stands.

    Args:
        params: As for any torch optimizer.
        rounding: Relative allowance for rounding in the loss; ``None`` for what the first evaluation shows.
        maximize: Maximise the function.
    """

    def __init__(self, params: Any, *, rounding: float | None, maximize: bool) -> None:
        self._rounding = rounding
        self._changed = ""  # what changed since the latest record
        super().__init__(params, maximize=maximize)

    # --- the current point ---

    def _current(self, function: Function) -> Point:
        """The point with its loss and gradient, evaluated only if something changed since the last step."""
        changed = self._why_stale(function)
        if changed:
            self._evaluate(function)
            self._forget_stop()
            if changed != "first evaluation":
                self._changed = "; ".join((changed, self.direction.renew(self._point(function))))
        return self._point(function)

    def _evaluate(self, function: Function) -> None:
        if self._rounding is None and "rounding" not in self.scalars:
            loss, dtype = watch_dtype(function)
            self.scalars["rounding"] = allowance(dtype or torch.float32)
        else:
            loss = function()
        gradient_norm = vectors.norm(self._gradient(), self._groups)
        if not (math.isfinite(float(loss)) and math.isfinite(gradient_norm)):
            raise NonFiniteError(
                f"the convex phase cannot start: loss {float(loss)}, gradient norm {gradient_norm}. Go back to a point with a "
                "finite loss, lower the learning rate of the first phase, or clip its gradients"
            )
        self.scalars.update(best_loss=float(loss), since_best=0, afresh_at=math.inf, first_gradient_norm=gradient_norm)
        self.memory.drop("best")
        self._remember(function, float(loss), gradient_norm)

    def _point(self, function: Function) -> Point:
        inverse = self.memory.get("inverse_diagonal")
        return Point(self._local, self._gradient(), float(self.scalars["loss"]), inverse, function, self._groups)

    def _keep_best(self, loss: float) -> None:
        """Steps within the rounding allowance may go up: the lowest point is then kept aside."""
        if loss < float(self.scalars["best_loss"]):
            self.memory.drop("best")
            self.scalars.update(best_loss=loss, since_best=0)
            return
        if self.memory.get("best") is None and float(self.scalars["loss"]) == self.scalars["best_loss"]:
            self.memory.set("best", vectors.clone(self._start_buffer))
        self.scalars["since_best"] = int(self.scalars["since_best"]) + 1

    def _remember(self, function: Function, loss: float, gradient_norm: float) -> None:
        self.scalars.update(loss=loss, gradient_norm=gradient_norm, function_version=function.version)
        self._watch.note(self.memory.parameters)

    def _noise(self, loss: float) -> float:
        return float(self.scalars["rounding"] if self._rounding is None else self._rounding) * abs(loss)

    def _restore_best(self, function: Function) -> None:
        if living.finish(function):
            self._remember(function, float(function()), vectors.norm(self._gradient(), self._groups))
            self.memory.drop("best")
            return
        best = self.memory.get("best")
        if best is not None and float(self.scalars["loss"]) > float(self.scalars["best_loss"]):
            vectors.copy_(self._local, vectors.locals_of(best))
            loss = float(function())
            self._remember(function, loss, vectors.norm(self._gradient(), self._groups))
        self.memory.drop("best")

    # --- noticing changes ---

    def _why_stale(self, function: Function) -> str:
        """Why loss and gradient at hand are not those of the current point; empty if they are."""
        if "loss" not in self.scalars:
            return "first evaluation"
        if self.scalars["function_version"] != function.version:
            return ": ".join(filter(None, ("the function changed", living.change_of(function))))
        if self._watch.empty:
            return "" if self._restore_gradient() else "the state was reloaded at another point"
        if self._watch.moved(self.memory.parameters):
            return "the parameters were changed between steps"
        gradient = self._watch.gradient()
        if gradient is None:
            return "the gradient was changed between steps"
        for p, g in zip(self.memory.parameters, gradient, strict=True):
            p.grad = g
        return ""

    def _restore_gradient(self) -> bool:
        """After a reload: take the saved gradient if the parameters are those it was saved with."""
        saved = self.memory.get("gradient")
        if saved is None or self._fingerprint() != self.scalars.get("fingerprint", math.nan):
            return False
        for p, g in zip(self.memory.parameters, saved, strict=True):
            p.grad = g.clone()
        self._watch.note(self.memory.parameters)
        return True

    # --- stopping ---

    def _stop(self, reason: StopReason) -> None:
        self.scalars["stop"] = reason.name

    def _forget_stop(self) -> None:
        self.scalars["stop"] = ""
        self.scalars["since_best"] = 0
