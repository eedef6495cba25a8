r"""A rule that knows the budget: it forecasts the final loss for every moment to swap, and swaps when waiting no longer pays.

Where the gradient norm peaks, swapping starts to be possible; when it is best depends on what is left to spend and on how
fast each phase moves. Both forecasts assume diminishing returns, a power law on the phase's own clock: each doubling of the
cost divides the loss by as much as the last doubling did.

* Staying: :math:`L_\text{stay} = L_0 ((c + r) / c)^{-a}`, with a the robust slope of log loss over log cost since the cost
  was half of c, the cost so far; r is what remains.
* Swapping: a probe runs the convex phase from a copy for a cost p and reaches :math:`L_p`; then
  :math:`L_\text{swap} = L_p (r / p)^{-b}` for r > p, with b from the second half of the probe, because the first steps of a
  full-batch method after a noisy one gain something once that says nothing about its pace.
* Swapping later: the first phase goes on for w of the r that remain, and the convex phase then gains what it would gain now
  for r - w. The sum of the two logarithms is best where :math:`a / (c + w) = b / (r - w)`: at the share a / (a + b) of the
  budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.swap.base import Observation, ProbeResult, SwapRule
from homestretch.swap.combine import After, check_rule
from homestretch.swap.peak import GradientNormPeak

_CLOSEST = 1.25  # least factor between the costs at two probes
_LEAST_PROBE = 2.0  # gradient-equivalents: an evaluation where the probe begins and one at the end of a step
_LEAST_POINTS = 4  # epochs that a trend of the first phase is taken over, at least


@dataclass
class ForecastMemory:
    """The record of the first phase and the probes so far."""

    costs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    due: float = 0.0
    plan: float | None = None
    spent: float = 0.0


class Forecast(SwapRule):
    """Swap when swapping now promises a lower final loss than staying, and about as low a one as swapping later.

    Needs a budget. Asks for a probe, again when the best moment that the last one forecast has come, or when the cost so far
    has grown by ``interval`` since, whichever is first. Each takes ``probe_share`` of the budget, all together at most
    ``total_share``; after that the last forecast stands. ``values["probe_cost"]`` of a decision that asks says how much the
    probe may spend. Where ``probe_share`` of the budget is less than 2 gradient-equivalents (by default on budgets below 134)
    a probe would not get to a step: then none is asked for, and it does not swap.

    Args:
        probe_share: Cost of one probe as a share of the budget.
        interval: Largest factor between the costs at which probes are asked for, above 1.
        total_share: Share of the budget that all probes may take.
        margin: What counts as a gain, of the swap over staying and of waiting over the swap, in natural-log units of the final
            loss (0.05: five per cent).
    """

    name = "forecast"
    needs_budget = True
    Memory = ForecastMemory
    memory: ForecastMemory

    def __init__(
        self, *, probe_share: float = 0.015, interval: float = 3.0, total_share: float = 0.06, margin: float = 0.05
    ) -> None:
        super().__init__()
        self.probe_share = arguments.fraction("probe_share", probe_share)
        self.interval = arguments.finite("interval", interval)
        if not interval > 1.0:
            raise ValueError(f"interval must be above 1, got {interval}: it is the factor between the costs of two probes")
        self.total_share = arguments.fraction("total_share", total_share)
        self.margin = arguments.at_least("margin", margin, 0.0)

    def watch(self, observation: Observation) -> None:
        """Record the epoch."""
        memory = self.memory
        memory.costs.append(observation.cost)
        memory.losses.append(observation.loss)

    def begin_again(self) -> None:
        """Forget all but what probes have cost: their share is of the whole run."""
        spent = self.memory.spent
        self.reset()
        self.memory.spent = spent

    def judge(self, observation: Observation) -> Decision:
        """Record the epoch and ask for a probe when one is due."""
        budget = _budget(observation)
        self.watch(observation)
        if observation.loss <= 0.0:
            return self.stay(f"loss {observation.loss:.3g} is not positive: there is no power law to forecast by")
        memory, left = self.memory, budget - observation.cost
        probe_cost = self.probe_share * budget
        if len(memory.costs) < _LEAST_POINTS:
            return self.stay(f"{len(memory.costs)} epochs are too few for a trend, {_LEAST_POINTS} are needed")
        if probe_cost < _LEAST_PROBE * (1.0 - 1e-9):
            return self.stay(
                f"a probe of {probe_cost:.3g} gradient-equivalents, {self.probe_share:.2%} of the budget, would not get to a "
                f"step, which takes {_LEAST_PROBE:g}"
            )
        if left <= 2.0 * probe_cost:
            return self.stay(f"{left:.3g} gradient-equivalents are left, too few for a probe of {probe_cost:.3g} to pay")
        if memory.spent + probe_cost > self.total_share * budget * (1.0 + 1e-9):
            return self._by_plan(observation.cost)
        if observation.cost < memory.due:
            return self.stay(
                f"the next probe is due at {memory.due:.4g} gradient-equivalents, {observation.cost:.4g} are spent"
            )
        return self.stay("a probe of the convex phase is due", probe=True, probe_cost=probe_cost)

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Compare the forecasts of staying, of swapping now and of swapping at the best moment still to come."""
        memory, budget, at = self.memory, _budget(observation), self.memory.costs[-1]
        memory.spent += probe.cost
        memory.due, memory.plan = self.interval * at, None
        if probe.failure or not math.isfinite(probe.loss_after):
            return self.stay(f"the probe of the convex phase failed: {probe.failure or 'its loss is not finite'}")
        now = max(observation.cost, at + probe.cost)
        left = max(budget - now, 0.0)
        if min(probe.loss_before, probe.loss_after) <= 0.0:
            return self.stay(f"the probe's loss, {probe.loss_after:.3g}, is not positive: there is no power law to forecast by")
        power, convex = self._power(), Convergence.of(probe)
        staying = trend.log(probe.loss_before) - power * math.log((now + left) / now)
        wait = min(max(best_moment(power, convex.power, budget), now), max(budget - 3.0 * probe.cost, now)) - now
        swapping = convex.log_loss(left)
        later = convex.log_loss(left - wait) - power * math.log((now + wait) / now)
        memory.due = min(max(now + wait, _CLOSEST * at), memory.due)
        memory.plan = now + wait if staying - later > self.margin else None
        return self.decide(
            staying - swapping > self.margin and swapping - later <= self.margin,
            f"with {left:.4g} gradient-equivalents left the final loss is forecast at {math.exp(swapping):.3g} "
            f"by swapping now, {math.exp(later):.3g} by swapping {wait:.4g} later and {math.exp(staying):.3g} by staying",
            forecast_swapping=math.exp(swapping),
            forecast_later=math.exp(later),
            forecast_staying=math.exp(staying),
            best_moment=now + wait,
            first_phase_power=power,
            convex_phase_power=convex.power,
            left=left,
        )

    def _by_plan(self, cost: float) -> Decision:
        """Without money for another probe the last forecast stands."""
        spent, plan = f"probes have taken their {self.memory.spent:.3g} gradient-equivalents", self.memory.plan
        if plan is None:
            return self.stay(f"{spent}; the last one promised nothing from a swap")
        reason = f"{spent}; the last one forecast the best moment at {plan:.4g}, {cost:.4g} are spent"
        return self.decide(cost >= plan, reason, best_moment=plan)

    def _power(self) -> float:
        """The first phase's power a, not below 0: a phase that climbs is not forecast to climb for ever."""
        costs, losses = self.memory.costs, self.memory.losses
        recent = trend.last_doubling(costs, _LEAST_POINTS)
        return max(trend.exponent(costs[recent], losses[recent]), 0.0)


class BudgetAware(After):
    """The peak opens the window, forecasts of both phases decide in it; not for small budgets, see :class:`Forecast`.

    Args:
        opener: The rule that opens the window; :class:`~homestretch.swap.peak.GradientNormPeak` by default.
        settings: Arguments of :class:`Forecast`.
    """

    def __init__(self, opener: SwapRule | None = None, **settings: float) -> None:
        peak = GradientNormPeak() if opener is None else check_rule("opener", opener)
        super().__init__(peak, Forecast(**settings), name="budget-aware")


@dataclass(frozen=True)
class Convergence:
    """What a probe says about the convex phase.

    Attributes:
        start: Log loss at its start.
        reached: Log loss at its end.
        cost: Its cost.
        power: The power b of the loss on the convex phase's own clock, from the second half of the probe.
        shift: How much earlier that clock started than the probe.
    """

    start: float
    reached: float
    cost: float
    power: float
    shift: float

    @classmethod
    def of(cls, probe: ProbeResult) -> Convergence:
        """Read a probe. Without a trace the whole probe stands for one doubling: the clock then started a probe earlier."""
        start, reached = trend.log(probe.loss_before), trend.log(probe.loss_after)
        halfway, shift = start, probe.cost
        if probe.trace:
            costs, losses = [0.0, *(c for c, _ in probe.trace)], [probe.loss_before, *(f for _, f in probe.trace)]
            halfway, shift = trend.log_loss_at(probe.cost / 2.0, costs, losses), 0.0
        return cls(start, reached, probe.cost, max(halfway - reached, 0.0) / math.log(2.0), shift)

    def log_loss(self, spent: float) -> float:
        """Log of the loss after spending this much from the probe's start: along the probe, then by the power law."""
        if spent <= self.cost:
            return self.start + (self.reached - self.start) * spent / self.cost
        return self.reached - self.power * math.log((spent + self.shift) / (self.cost + self.shift))


def best_moment(first_power: float, convex_power: float, budget: float) -> float:
    """The cost at which to swap, by the powers of both phases: at the end if neither moves."""
    total = first_power + convex_power
    return budget * first_power / total if total > 0.0 else budget


def _budget(observation: Observation) -> float:
    if observation.budget is None:
        raise ValueError("this rule needs a budget: give the run its planned gradient-equivalents, or use another rule")
    return observation.budget
