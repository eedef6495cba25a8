"""Both phases from one point for the same cost: the lower loss goes on."""

from __future__ import annotations

import math
from typing import Any

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.resort.base import Trace
from homestretch.resort.measured import MeasuredResort


class Race(MeasuredResort):
    """Let both phases run from the swap point for the same short cost; the lower loss goes on.

    The loser's cost is spent, which is the price of knowing. After a won race the convex phase is still measured.

    Args:
        share: Cost of each runner as a share of the budget (of the cost so far where there is no budget).
        settings: Arguments of :class:`MeasuredResort`.
    """

    name = "race"

    def __init__(self, share: float = 0.02, **settings: Any) -> None:
        super().__init__(**settings)
        self.share = arguments.fraction("share", share)

    def race_cost(self, cost: float, budget: float | None) -> float:
        """What each runner may spend, in gradient-equivalents."""
        return self.share * (cost if budget is None else budget)

    def settle(self, first: Trace, second: Trace) -> Decision:
        """The winner at equal cost, the largest that both reached; a tie goes to the convex phase.

        Args:
            first: The first phase's points, the common start included.
            second: The convex phase's points, likewise.

        Returns:
            The decision to go back (the first phase won) or not.
        """
        if not first or not second:
            raise ValueError("both runners need at least one point")
        cost = min(first[-1][0], second[-1][0])
        ours, theirs = _best_until(cost, second), _best_until(cost, first)
        back = not ours <= theirs
        if back:
            self._return(max(self.memory.first_costs, default=0.0))
        winner = "the first phase" if back else "the convex phase"
        return self.decide(
            back,
            f"after {cost:.4g} gradient-equivalents each the first phase is at {theirs:.3g}, the convex phase at {ours:.3g}: "
            f"{winner} goes on",
            first_loss=theirs,
            second_loss=ours,
            cost=cost,
        )


def _best_until(cost: float, points: Trace) -> float:
    """Lowest finite loss of a runner up to a cost, the loss at the cost itself interpolated; infinite if it had none."""
    finite = [(c, f) for c, f in points if math.isfinite(f)]
    if not finite:
        return math.inf
    reached = [f for c, f in finite if c <= cost]
    at_end = math.exp(trend.log_loss_at(cost, [c for c, _ in finite], [f for _, f in finite]))
    return min([*reached, at_end])
