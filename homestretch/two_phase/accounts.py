"""What a run has cost, and what it may cost."""

from __future__ import annotations

from collections.abc import Sequence

from homestretch import arguments
from homestretch.cost import CostMeter
from homestretch.objective import AnyObjective
from homestretch.swap import SwapRule, default_rule
from homestretch.two_phase.groups import SharedGroups
from homestretch.two_phase.inspection import Inspection


class Accounts(SharedGroups):
    """The part of a :class:`~homestretch.two_phase.TwoPhase` that keeps the books.

    Attributes:
        meter: Where the cost is counted.
        before: What the meter showed before this run: gradient-equivalents and seconds.
        budget: Planned cost of the whole run; ``None`` if the end is open.
        planned: Whether the budget is a plan that rules go by, and no bound that the user gave.
        epochs: Epochs made.
        rule: When to swap.
        own_rule: Whether the rule was left to us.
    """

    meter: CostMeter
    before: tuple[float, float]
    budget: float | None
    planned: bool
    epochs: int
    rule: SwapRule
    own_rule: bool
    objective: AnyObjective | None
    inspection: Inspection | None
    _closed: float  # what was spent when the last epoch was closed

    @property
    def spent(self) -> float:
        """Cost of this run so far, in gradient-equivalents."""
        return self.meter.gradient_equivalents - self.before[0]

    @property
    def seconds(self) -> float:
        """Wall time since this was made, that of earlier sessions of a resumed run included."""
        return self.meter.seconds - self.before[1]

    def take_counts(self, before: Sequence[float]) -> None:
        """Go on with the counts of the meter, of which these were there before this run."""
        self.before = (float(before[0]), float(before[1]))
        self._closed = self.spent

    def plan(self, budget: float) -> None:
        """Say what the run may cost, where that was not known when this was made; a budget that was given stays.

        A later plan takes the place of an earlier one. A swap rule that was left to us is chosen again, if no epoch has been
        made yet.

        Args:
            budget: Gradient-equivalents planned for the whole run; an epoch of the first phase is one. Rules and resort go by
                it; the run may cost more.
        """
        if self.budget is not None and not self.planned:
            return
        if self.own_rule and not self.epochs and self.budget is None:
            self.rule = default_rule(budget)
        self._set_budget(budget, planned=True)

    def _set_budget(self, budget: float | None, *, planned: bool = False) -> None:
        """Take the budget, and warn of evidence that it will never pay for."""
        self.budget = None if budget is None else float(arguments.positive("budget", budget))
        self.planned = planned
        if self.inspection is not None:
            self.inspection.check_payable(self.objective, self.budget)
