"""When the loop is done: tolerances, targets and budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homestretch.descent.stop import StopReason

PATIENCE = 20  # iterations without a new lowest loss before the loop says that only noise is left


class Limits:
    """What the user set.

    Args:
        gradient_tolerance: Stop when the gradient norm is below this times the first one seen; 0 never.
        target_loss: Stop at this loss, of the function that is minimised.
        budget: Stop when this many gradient-equivalents have been spent.
        seconds: Stop after this much wall time.

    Raises:
        ValueError: If a number is negative.
    """

    def __init__(
        self, *, gradient_tolerance: float, target_loss: float | None, budget: float | None, seconds: float | None
    ) -> None:
        for name, value in (("gradient_tolerance", gradient_tolerance), ("budget", budget), ("seconds", seconds)):
            refuse_negative(name, value)
        self.gradient_tolerance = gradient_tolerance
        self.target_loss = target_loss
        self.budget = budget
        self.seconds = seconds

    def reached(self, scalars: Mapping[str, Any]) -> StopReason | None:
        """The first limit that is reached, by the loop's own numbers."""
        norm = float(scalars["gradient_norm"])
        reasons = (
            (norm == 0.0, StopReason.GRADIENT_ZERO),
            (norm <= self.gradient_tolerance * float(scalars["first_gradient_norm"]), StopReason.GRADIENT_SMALL),
            (self.target_loss is not None and float(scalars["loss"]) <= self.target_loss, StopReason.TARGET),
            (int(scalars["since_best"]) >= PATIENCE, StopReason.NO_PROGRESS),
            (self.budget is not None and float(scalars["spent"]) >= self.budget, StopReason.BUDGET),
            (self.seconds is not None and float(scalars["elapsed"]) >= self.seconds, StopReason.SECONDS),
        )
        return next((reason for met, reason in reasons if met), None)


def refuse_negative(name: str, value: float | None) -> None:
    """Refuse a negative number, and one that is none.

    Raises:
        ValueError: If it is one.
    """
    if value is not None and not value >= 0.0:
        raise ValueError(f"{name} must not be negative, got {value}")
