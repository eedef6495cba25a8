"""When the loop is done: tolerances, targets and budgets."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from homestretch import arguments
from homestretch.cost import CostMeter
from homestretch.descent.stop import StopReason

PATIENCE = 20  # iterations without a new lowest loss before the loop says that only noise is left

_ROUNDING = 1e-9  # of sums of costs, relative


class Limits:
    """What the user set.

    Args:
        gradient_tolerance: Stop when the gradient norm is below this times the first one seen; 0 never.
        target_loss: Stop at this loss, of the function that is minimised.
        budget: Stop when this many gradient-equivalents have been spent.
        seconds: Stop after this much wall time.

    Raises:
        TypeError: If one is no number.
        ValueError: If a number is negative, or the target is NaN.
    """

    def __init__(
        self, *, gradient_tolerance: float, target_loss: float | None, budget: float | None, seconds: float | None
    ) -> None:
        for name, value in (("gradient_tolerance", gradient_tolerance), ("budget", budget), ("seconds", seconds)):
            refuse_negative(name, value)
        if target_loss is not None and math.isnan(arguments.number("target_loss", target_loss)):
            raise ValueError("target_loss must be a number, got nan")
        self.gradient_tolerance = gradient_tolerance
        self.target_loss = target_loss
        self.budget = budget
        self.seconds = seconds
        self.allowed = math.inf  # a total like budget, but set from outside and anew at any time

    def reached(self, scalars: Mapping[str, Any]) -> StopReason | None:
        """The first limit that is reached, by the loop's own numbers."""
        norm = float(scalars["gradient_norm"])
        reasons = (
            (norm == 0.0, StopReason.GRADIENT_ZERO),
            (norm <= self.gradient_tolerance * float(scalars["first_gradient_norm"]), StopReason.GRADIENT_SMALL),
            (self.target_loss is not None and float(scalars["loss"]) <= self.target_loss, StopReason.TARGET),
            (int(scalars["since_best"]) >= PATIENCE, StopReason.NO_PROGRESS),
            (float(scalars["spent"]) >= self._end, StopReason.BUDGET),
            (self.seconds is not None and float(scalars["elapsed"]) >= self.seconds, StopReason.SECONDS),
        )
        return next((reason for met, reason in reasons if met), None)

    def purse(self, scalars: Mapping[str, Any], meter: CostMeter) -> Purse:
        """What is left of both budgets, from now on."""
        left = self._end - float(scalars["spent"])
        seconds = math.inf if self.seconds is None else self.seconds - float(scalars["elapsed"])
        return Purse(meter, meter.gradient_equivalents + left, time.perf_counter() + seconds)

    @property
    def most(self) -> float:
        """What may be spent in all, in gradient-equivalents."""
        return self.allowed if self.budget is None else min(self.budget, self.allowed)

    @property
    def _end(self) -> float:
        """Where the budget counts as spent: a sum of thirds may miss it by rounding, which is no reason for one more pass."""
        return self.most * (1.0 - _ROUNDING)


class Purse:
    """What one iteration may spend.

    Args:
        meter: Where its evaluations are counted.
        most: Where that must stop, in gradient-equivalents.
        deadline: When the clock must.
    """

    def __init__(self, meter: CostMeter, most: float, deadline: float) -> None:
        self._meter = meter
        self._most = most
        self._deadline = deadline

    @property
    def left(self) -> float:
        """Gradient-equivalents left."""
        return self._most - self._meter.gradient_equivalents

    def empty(self, reserve: float = 0.0) -> StopReason | None:
        """The budget that is spent, with ``reserve`` gradient-equivalents set aside; ``None`` while both last."""
        if self.left <= reserve:
            return StopReason.BUDGET
        return StopReason.SECONDS if time.perf_counter() >= self._deadline else None


def refuse_negative(name: str, value: float | None) -> None:
    """Refuse a negative number, and what is none.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is negative or NaN.
    """
    if value is not None and not arguments.number(name, value) >= 0.0:
        raise ValueError(f"{name} must not be negative, got {value}")
