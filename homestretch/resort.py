r"""When to go back to the first phase: the safe resort, measured instead of hoped. Plain Python, no torch.

What the first phase was making is known from its own record: the power a of :math:`L \propto c^{-a}`, a robust slope of log
loss over log cost since the cost was half of what it was at the swap. Had it gone on, its loss at cost c would be about
:math:`L_0 (c / c_0)^{-a}`, falling by a / c per gradient-equivalent. The convex phase is held against both. Losses that are
not positive have no such trend: then only failures lead back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.memory import Remembering

Trace = Sequence[tuple[float, float]]
"""Points (gradient-equivalents since the common start, loss over all the data), in order."""

_LEAST_POINTS = 4  # first-phase epochs that make a trend


@dataclass
class ResortMemory:
    """Records of both phases and how often they changed hands.

    Attributes:
        first_costs: Cost after each epoch of the first phase.
        first_losses: Loss of each.
        costs: Cost after each step of the convex phase since the last swap; the swap itself comes first.
        losses: Loss after each.
        behind: Steps in a row in which the convex phase was losing.
        returns: How often it went back.
        waited: Epochs of the first phase since it last went back.
    """

    first_costs: list[float] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    behind: int = 0
    returns: int = 0
    waited: int = 0


class Resort(Remembering, ABC):
    """A policy on going back. In its decisions ``swap`` means: change the phase, back to the first.

    Args:
        retry_after: Epochs of the first phase after which the swap rule is asked again, twice as many after each further
            return; ``None`` for never.
    """

    Memory = ResortMemory
    memory: ResortMemory

    def __init__(self, retry_after: int | None = None) -> None:
        super().__init__()
        self.retry_after = None if retry_after is None else arguments.count("retry_after", retry_after)

    def observe_first(self, cost: float, loss: float) -> None:
        """Take in an epoch of the first phase: total cost so far and the epoch's loss."""
        memory = self.memory
        memory.waited += 1
        memory.first_costs.append(cost)
        memory.first_losses.append(loss)

    def swapped(self, cost: float, epoch: int, loss: float | None = None) -> None:
        """The convex phase begins.

        Args:
            cost: Total cost so far.
            epoch: Number of the last epoch, for the error message.
            loss: Loss over all the data at the swap; the last epoch's loss if it is not known.
        """
        memory = self.memory
        if loss is None:
            if not memory.first_losses:
                raise ValueError(f"no epoch of the first phase was observed before the swap after epoch {epoch}: give loss")
            loss = memory.first_losses[-1]
        memory.costs, memory.losses, memory.behind = [cost], [loss], 0

    def observe_second(self, cost: float, loss: float, failure: str | None = None) -> Decision:
        """Take in a step of the convex phase and decide whether to go back.

        Args:
            cost: Total cost so far.
            loss: Loss over all the data after the step.
            failure: What went wrong (a failed search, a NaN); ``None`` if nothing did.
        """
        if not self.memory.costs:
            raise ValueError("observe_second was called before swapped: tell the resort where the convex phase began")
        decision = self.judge(cost, loss, failure)
        if decision.swap:
            self._return()
        return decision

    def may_swap(self) -> bool:
        """Whether the swap rule may be asked: always before the first return, then as ``retry_after`` says."""
        if self.memory.returns == 0:
            return True
        return self.retry_after is not None and self.memory.waited >= self.retry_after * 2 ** (self.memory.returns - 1)

    def _return(self) -> None:
        """Begin the first phase's record anew: its trend is not that of before the convex phase."""
        self.memory = ResortMemory(returns=self.memory.returns + 1)

    @abstractmethod
    def judge(self, cost: float, loss: float, failure: str | None) -> Decision:
        """Decide on a step of the convex phase."""

    def decide(self, back: bool, reason: str, **values: float) -> Decision:
        """The decision to go back or not."""
        return Decision(swap=back, reason=reason, rule=self.name, values=values)


class NoResort(Resort):
    """Stay in the convex phase, whatever happens."""

    name = "no-resort"

    def judge(self, cost: float, loss: float, failure: str | None) -> Decision:
        """Always no."""
        return self.decide(False, f"this run does not go back{f' ({failure})' if failure else ''}")


class MeasuredResort(Resort):
    """Go back when the convex phase makes less progress for its cost than the first phase would have made.

    It is losing where both hold: its loss is above what the first phase would have reached at this cost (progress since the
    swap), and its loss is falling more slowly than the first phase's would (progress now, a robust slope over ``window``
    steps). The first alone would punish a slow start, the second alone a pause after a great gain. It goes back after
    ``patience`` such steps in a row; at once after a failure, a loss that is not finite, or a spike.

    Args:
        window: Steps that the present progress is measured over.
        patience: Steps in a row that must be losing.
        grace: Steps after the swap that are not judged by their progress.
        margin: Share of the first phase's expected fall, of both kinds, that is enough.
        spike: Loss over the lowest loss of this convex phase that sends it back at once, a factor above 1.
        retry_after: Epochs of the first phase after which the swap rule is asked again, twice as many after each further
            return; ``None`` for never.
    """

    name = "measured-resort"

    def __init__(
        self,
        *,
        window: int = 10,
        patience: int = 5,
        grace: int = 5,
        margin: float = 1.0,
        spike: float = 2.0,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(retry_after)
        self.window = max(arguments.count("window", window), 2)
        self.patience = arguments.count("patience", patience)
        self.grace = int(arguments.at_least("grace", grace, 0))
        self.margin = arguments.positive("margin", margin)
        self.spike = arguments.positive("spike", spike)
        if spike <= 1.0:
            raise ValueError(f"spike must be above 1, got {spike}: it is a factor on the lowest loss")

    def judge(self, cost: float, loss: float, failure: str | None) -> Decision:
        """Look for failures, then compare the progress."""
        memory = self.memory
        if failure or not math.isfinite(loss):
            return self.decide(True, f"the convex phase failed: {failure or f'its loss is {loss}'}", loss=loss)
        lowest = min(memory.losses)
        if lowest > 0.0 and loss > self.spike * lowest:
            return self.decide(
                True, f"loss {loss:.3g} is {loss / lowest:.3g} times the lowest, {lowest:.3g}", loss=loss, lowest=lowest
            )
        memory.costs.append(cost)
        memory.losses.append(loss)
        return self._compare(cost, loss)

    def _compare(self, cost: float, loss: float) -> Decision:
        memory, power = self.memory, self.first_phase_power()
        steps = len(memory.costs) - 1
        if power is None or steps <= self.grace:
            return self.decide(False, f"step {steps} of the convex phase, too early to judge its progress")
        start = memory.costs[0]
        gained = trend.log(memory.losses[0]) - trend.log(loss)
        expected = power * math.log(cost / start)
        recent = slice(-self.window, None)
        pace, expected_pace = trend.rate(memory.costs[recent], memory.losses[recent]), power / cost
        losing = gained < self.margin * expected and not pace >= self.margin * expected_pace
        memory.behind = memory.behind + 1 if losing else 0
        first_loss = math.exp(trend.log(memory.losses[0]) - expected)
        return self.decide(
            memory.behind >= self.patience,
            f"loss {loss:.3g} where the first phase would be near {first_loss:.3g}, falling by {pace:.2%} per "
            f"gradient-equivalent where that would make {expected_pace:.2%}; "
            f"losing in {memory.behind} of {self.patience} steps",
            loss=loss,
            expected_loss=first_loss,
            pace=pace,
            expected_pace=expected_pace,
            behind=memory.behind,
        )

    def first_phase_power(self) -> float | None:
        """The power a of the first phase's fall, not below 0; ``None`` if too few epochs were seen."""
        memory = self.memory
        costs, losses = memory.first_costs, memory.first_losses
        if len(costs) < _LEAST_POINTS:
            return None
        recent = trend.last_doubling(costs, _LEAST_POINTS)
        return max(trend.exponent(costs[recent], losses[recent]), 0.0)


class Race(MeasuredResort):
    """Let both phases run from the swap point for the same short cost; the lower loss goes on.

    The loser's cost is spent, which is the price of knowing. After a won race the convex phase is still measured.

    Args:
        share: Cost of each runner as a share of the budget (of the cost so far where there is no budget).
        settings: Arguments of :class:`MeasuredResort`.
    """

    name = "race"

    def __init__(self, share: float = 0.02, **settings: float) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
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
            self._return()
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
