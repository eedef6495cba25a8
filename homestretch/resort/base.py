"""The contract of all policies on going back: what they are told, and what they remember."""

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
_LEAST_STRETCH = 10.0  # gradient-equivalents: in fewer a convex phase does not get going


@dataclass
class ResortMemory:
    """Records of both phases and how often they changed hands.

    Attributes:
        first_costs: Cost after each epoch of the first phase.
        first_losses: Loss of each.
        cost: Cost at the last swap; below 0 before it.
        loss: Loss there.
        budget: Planned cost of the run; ``None`` if its end is open.
        power: The power a of the first phase at the swap; ``None`` if it is not known.
        lowest: Lowest loss since.
        steps: Steps of the convex phase since.
        returns: How often it went back.
        returned_at: Cost at the last return; below 0 before it.
        waited: Epochs of the first phase since it last went back.
        costs: Costs of the convex phase's points, ascending, the swap the first; a policy may thin them out.
        lows: Lowest loss up to each.
        stride: Every so many steps are among them.
        version: Version of the function that the losses since the swap are of.
    """

    first_costs: list[float] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    cost: float = -1.0
    loss: float = 0.0
    budget: float | None = None
    power: float | None = None
    lowest: float = 0.0
    steps: int = 0
    returns: int = 0
    returned_at: float = -1.0
    waited: int = 0
    costs: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    stride: int = 1
    version: int = 0


class Resort(Remembering, ABC):
    """A policy on going back. In its decisions ``swap`` means: change the phase, back to the first.

    Args:
        retry_after: Epochs of the first phase after which the swap rule is asked again, twice as many after each further
            return; ``None`` for never.
        last_stretch: Share of the budget before whose end the swap rule is asked again after an earlier return, once; 0 for
            never. It needs a budget of which that share is 10 gradient-equivalents or more; the rule may want more than that,
            as :class:`~homestretch.swap.PacedPeak` wants 20 for a first phase on mini-batches.
    """

    Memory = ResortMemory
    memory: ResortMemory

    def __init__(self, retry_after: int | None = None, last_stretch: float = 0.0) -> None:
        super().__init__()
        self.retry_after = None if retry_after is None else arguments.count("retry_after", retry_after)
        self.last_stretch = arguments.at_least("last_stretch", last_stretch, 0.0)
        if last_stretch >= 1.0:
            raise ValueError(f"last_stretch must be below 1, got {last_stretch}: it is a share of the budget")

    def observe_first(self, cost: float, loss: float) -> None:
        """Take in an epoch of the first phase: total cost so far and the epoch's loss."""
        memory = self.memory
        memory.waited += 1
        memory.first_costs.append(cost)
        memory.first_losses.append(loss)

    def swapped(
        self, cost: float, epoch: int, loss: float | None = None, budget: float | None = None, version: int = 0
    ) -> None:
        """The convex phase begins.

        Args:
            cost: Total cost so far.
            epoch: Number of the last epoch, for the error message.
            loss: Loss over all the data at the swap; the last epoch's mean if it is not known, which is higher as a rule.
            budget: Planned cost of the whole run, if it is known.
            version: Version of the function that is minimised.
        """
        memory = self.memory
        if loss is None:
            if not memory.first_losses:
                raise ValueError(f"no epoch of the first phase was observed before the swap after epoch {epoch}: give loss")
            loss = memory.first_losses[-1]
        memory.cost, memory.loss, memory.lowest, memory.steps = cost, loss, loss, 0
        memory.budget, memory.power = budget, self._first_phase_power()
        memory.costs, memory.lows, memory.stride = [cost], [loss], 1
        memory.version = version

    def observe_second(
        self,
        cost: float,
        loss: float,
        failure: str | None = None,
        *,
        version: int | None = None,
        start: float = math.nan,
        budget: float | None = None,
    ) -> Decision:
        """Take in a step of the convex phase and decide whether to go back.

        Args:
            cost: Total cost so far.
            loss: Loss over all the data after the step.
            failure: What went wrong (a failed search, a NaN); ``None`` if nothing did.
            version: Version of the function; ``None`` for the same as before.
            start: Loss at the start of the step, by this version of it.
            budget: Planned cost of the run as of now; ``None`` if it is that which was planned at the swap.
        """
        if self.memory.cost < 0.0:
            raise ValueError("observe_second was called before swapped: tell the resort where the convex phase began")
        if budget is not None:
            self.memory.budget = budget
        if version is not None and version != self.memory.version:
            self._restate(version, start)
        self.memory.steps += 1
        decision = self.judge(cost, loss, failure)
        if decision.swap:
            self._return(cost)
        elif loss < self.memory.lowest:
            self.memory.lowest = loss
        return decision

    def may_swap(self, cost: float, budget: float | None = None) -> bool:
        """Whether the swap rule may be asked: before the first return, then as ``retry_after`` and ``last_stretch`` say.

        Args:
            cost: Total cost so far.
            budget: Planned cost of the whole run, if it is known.
        """
        memory = self.memory
        if memory.returns == 0:
            return True
        if budget is not None and self.last_stretch * budget >= _LEAST_STRETCH:
            begin = (1.0 - self.last_stretch) * budget
            if memory.returned_at < begin <= cost:
                return True
        return self.retry_after is not None and memory.waited >= self.retry_after * 2 ** (memory.returns - 1)

    def _restate(self, version: int, start: float) -> None:
        """State what is remembered in terms of another function: points were redrawn, weights changed.

        Losses of two functions compare by how they fall, so all of them are multiplied by what the change has made of the loss
        at one point.
        """
        memory = self.memory
        memory.version = version
        factor = start / memory.lowest if memory.lowest > 0.0 else math.nan
        if not (math.isfinite(factor) and factor > 0.0):
            factor, memory.power = 1.0, None
        memory.lowest = start if math.isfinite(start) else memory.lowest
        memory.loss *= factor
        memory.lows = [low * factor for low in memory.lows]

    def _return(self, cost: float) -> None:
        """Begin the first phase's record anew: its trend is not that of before the convex phase."""
        self.memory = ResortMemory(returns=self.memory.returns + 1, returned_at=cost)

    def _first_phase_power(self) -> float | None:
        """The power a of the first phase's fall, not below 0; ``None`` without enough epochs, or if a loss is not positive."""
        costs, losses = self.memory.first_costs, self.memory.first_losses
        if len(costs) < _LEAST_POINTS:
            return None
        recent = trend.last_doubling(costs, _LEAST_POINTS)
        if min(losses[recent]) <= 0.0 or costs[recent][0] <= 0.0:
            return None
        return max(trend.exponent(costs[recent], losses[recent]), 0.0)

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
