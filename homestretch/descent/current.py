"""The current point of the loop: evaluated where something changed, remembered, the lowest one kept."""

from __future__ import annotations

import math
from typing import Any

import torch

from homestretch import vectors
from homestretch.descent.contract import TorchContract
from homestretch.descent.limits import Limits, Purse, refuse_negative
from homestretch.descent.rounding import allowance, watch_dtype
from homestretch.descent.stop import StopReason
from homestretch.directions.base import Point
from homestretch.errors import NonFiniteError
from homestretch.line import SearchStatus
from homestretch.objective import living
from homestretch.objective.base import Function
from homestretch.vectors import Vector

_FIRST, _RECAST = "first evaluation", "the parameters were cast"


class CurrentPoint(TorchContract):
    """The part of :class:`~homestretch.descent.loop.Descent` that knows where it stands.

    Args:
        params: As for any torch optimizer.
        rounding: Relative allowance for rounding in the loss; ``None`` for what the first evaluation shows.
        maximize: Maximise the function.
    """

    limits: Limits

    def __init__(self, params: Any, *, rounding: float | None, maximize: bool) -> None:
        self._rounding = rounding
        super().__init__(params, maximize=maximize)

    # --- the current point ---

    def _current(self, function: Function) -> Point:
        """The point with its loss and gradient, evaluated only if something changed since the last step."""
        changed = self._why_stale(function)
        if changed:
            self._evaluate(function, changed)
            self._forget_stop()
            if changed.startswith(_RECAST):
                self._changed = changed  # the direction has nothing to learn from it
            elif changed != _FIRST:
                self._changed = "; ".join((changed, self.direction.renew(self._point(function))))
        return self._point(function)

    def _evaluate(self, function: Function, why: str) -> None:
        if self._rounding is None and "rounding" not in self.scalars:
            loss, dtype = watch_dtype(function)
            self.scalars["rounding"] = allowance(dtype or self._local[0].dtype)
        else:
            loss = function()
        self._refuse_no_gradient()
        gradient_norm = vectors.norm(self._gradient(), self._groups)
        if not (math.isfinite(float(loss)) and math.isfinite(gradient_norm)):
            raise NonFiniteError(
                f"the convex phase cannot go on from here ({why}): loss {float(loss)}{living.not_finite(function)}, gradient "
                f"norm {gradient_norm}. Go back to a point with a finite loss, lower the learning rate of the first phase, or "
                "clip its gradients"
            )
        self.scalars.update(best_loss=float(loss), since_best=0, afresh_at=math.inf)
        self.scalars.setdefault("first_gradient_norm", gradient_norm)
        self.memory.drop("best")
        self._remember(function, float(loss), gradient_norm)

    def _point(self, function: Function, gradient: Vector | None = None) -> Point:
        inverse = self.memory.get("inverse_diagonal")
        gradient = self._gradient() if gradient is None else gradient
        return Point(self._local, gradient, float(self.scalars["loss"]), inverse, function, self._groups)

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
        self._functions.another = False

    def _noise(self, loss: float) -> float:
        return float(self.scalars["rounding"] if self._rounding is None else self._rounding) * abs(loss)

    def _restore_best(self, function: Function, *, evaluate: bool) -> None:
        """Go back to the lowest point; without an evaluation its gradient is left out, and made when the loop goes on."""
        if living.finish(function):
            # what the function holds to be best is told by no loss that was seen
            self._remember(function, float(function()), vectors.norm(self._gradient(), self._groups))
            self.memory.drop("best")
            return
        best = self.memory.get("best")
        if best is not None and float(self.scalars["loss"]) > float(self.scalars["best_loss"]):
            vectors.copy_(self._local, vectors.locals_of(best))
            if evaluate:
                loss = float(function())
                self._remember(function, loss, vectors.norm(self._gradient(), self._groups))
            else:
                for p in self.memory.parameters:
                    p.grad = None
                self.scalars.update(loss=self.scalars["best_loss"], function_version=-1)
        self.memory.drop("best")

    # --- noticing changes ---

    def _why_stale(self, function: Function) -> str:
        """Why loss and gradient at hand are not those of the current point; empty if they are."""
        if "loss" not in self.scalars:
            return _FIRST
        dtype = self.scalars.pop("recast", "")
        if dtype:
            return f"{_RECAST} to {dtype}: so is the state, and rounding is measured anew"
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
            if p.grad is not g:  # let go of by zero_grad
                p.grad = g
        if self._functions.another and not self._agrees(function):
            return "another objective was handed over"
        return ""

    def _agrees(self, function: Function) -> bool:
        """Whether an objective in another's place has the loss and gradient at hand: it is the same, made anew."""
        loss, gradient = self.scalars["loss"], self._gradient()
        agrees = float(function()) == loss and all(map(torch.equal, self._gradient(), gradient))
        if agrees:
            self._remember(function, loss, float(self.scalars["gradient_norm"]))
        return agrees

    def _restore_gradient(self) -> bool:
        """After a reload: take the saved gradient if the parameters are those it was saved with."""
        saved = self.memory.get("gradient")
        if saved is None or self._fingerprint() != self.scalars.get("fingerprint", math.nan):
            return False
        for p, g in zip(self.memory.parameters, saved, strict=True):
            p.grad = vectors.sharded_like(g.clone(), p)
        self._watch.note(self.memory.parameters)
        self._functions.another = False  # a state knows no objective, only its version
        return True

    # --- stopping ---

    def allow(self, gradient_equivalents: float) -> None:
        """Spend at most this much from now on, whatever the budget is; infinite for no limit.

        A loop that stopped because a budget was spent goes on if this is more than it had.

        Raises:
            ValueError: If the number is negative.
        """
        refuse_negative("gradient_equivalents", gradient_equivalents)
        total = float(self.scalars["spent"]) + gradient_equivalents
        if self.stop_reason is StopReason.BUDGET and total > float(self.scalars["most"]) * (1.0 + 1e-9):
            self._forget_stop()
        self.limits.allowed = total

    def _stop_if_done(self, function: Function) -> str:
        """Stop for the reasons that need no search; returns why the direction starts afresh instead, if it does.

        Where no new lowest loss came for long, what the direction has learned may be to blame. It is forgotten once, and
        again only after a gain that rounding cannot have made.
        """
        reason, restart, scalars = self.limits.reached(self.scalars), "", self.scalars
        best = float(scalars["best_loss"])
        if living.why_stop(function) and reason is None:  # asked in every iteration, as what is asked may count
            reason = StopReason.HELD_OUT
        if reason is StopReason.NO_PROGRESS and best < float(scalars["afresh_at"]) - self._noise(best):
            restart = f"{scalars['since_best']} iterations without a new lowest loss"
            scalars.update(since_best=0, afresh_at=best)
            self.direction.reset()
            reason = self.limits.reached(scalars)
        if reason is not None:
            self._stop(reason)
        return restart

    def _stop_if_spent(self, status: SearchStatus, purse: Purse) -> bool:
        """Stop if the budget ended the search."""
        spent = status is SearchStatus.BUDGET
        if spent:
            self._stop(purse.empty() or StopReason.BUDGET)
        return spent

    def _stop(self, reason: StopReason) -> None:
        self.scalars.update(stop=reason.name, most=self.limits.most)

    def _forget_stop(self) -> None:
        self.scalars["stop"] = ""
        self.scalars["since_best"] = 0
