r"""A rule that knows the budget: it forecasts the final loss of both phases and swaps when the convex phase promises less.

Where the gradient norm peaks, swapping starts to be possible; when it is best depends on what is left to spend and on how
fast each phase moves. Both forecasts assume diminishing returns, a power law on the phase's own clock: each doubling of the
cost divides the loss by as much as the last doubling did.

* Staying: :math:`L_\text{stay} = L_0 ((c + r) / c)^{-a}`, with a the robust slope of log loss over log cost since the cost
  was half of c, the cost so far; r is what remains.
* Swapping: a probe runs the convex phase from a copy for a cost p and reaches :math:`L_p`; then
  :math:`L_\text{swap} = L_p (r / p)^{-b}` for r > p, with b from the second half of the probe, because the first steps of a
  full-batch method after a noisy one gain something once that says nothing about its pace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from homestretch import arguments, trend
from homestretch.swap.base import Decision, Observation, ProbeResult, SwapRule
from homestretch.swap.combine import After
from homestretch.swap.peak import GradientNormPeak

_LEAST_POINTS = 4  # epochs that a trend of the first phase is taken over, at least


@dataclass
class ForecastMemory:
    """The record of the first phase and the probes so far."""

    costs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    last_probe: float | None = None
    spent: float = 0.0


class Forecast(SwapRule):
    """Swap when the forecast of the convex phase beats that of the first phase at the end of the budget.

    Needs a budget. Asks for a probe whenever the cost so far has grown by ``interval`` since the last one, each of
    ``probe_share`` of the budget, until all probes together have taken ``total_share`` of it. ``values["probe_cost"]`` of
    a decision that asks says how much the probe may spend.

    Args:
        probe_share: Cost of one probe as a share of the budget.
        interval: Factor between the costs at which probes are asked for, above 1.
        total_share: Share of the budget that all probes may take.
        margin: Gain that the swap must promise, in natural-log units of the final loss (0.05: five per cent).
    """

    name = "forecast"
    Memory = ForecastMemory
    memory: ForecastMemory

    def __init__(
        self, *, probe_share: float = 0.015, interval: float = 2.0, total_share: float = 0.06, margin: float = 0.05
    ) -> None:
        super().__init__()
        self.probe_share = arguments.fraction("probe_share", probe_share)
        if not interval > 1.0:
            raise ValueError(f"interval must be above 1, got {interval}: it is the factor between the costs of two probes")
        self.interval = interval
        self.total_share = arguments.fraction("total_share", total_share)
        self.margin = arguments.at_least("margin", margin, 0.0)

    def watch(self, observation: Observation) -> None:
        """Record the epoch."""
        memory = self.memory
        memory.costs.append(observation.cost)
        memory.losses.append(observation.loss)

    def judge(self, observation: Observation) -> Decision:
        """Record the epoch and ask for a probe when one is due."""
        budget = _budget(observation)
        self.watch(observation)
        memory, left = self.memory, budget - observation.cost
        probe_cost = self.probe_share * budget
        if len(memory.costs) < _LEAST_POINTS:
            return self.stay(f"{len(memory.costs)} epochs are too few for a trend, {_LEAST_POINTS} are needed")
        if left <= 2.0 * probe_cost:
            return self.stay(f"{left:.3g} gradient-equivalents are left, too few for a probe of {probe_cost:.3g} to pay")
        if memory.spent + probe_cost > self.total_share * budget * (1.0 + 1e-9):
            return self.stay(f"probes have taken {memory.spent:.3g} gradient-equivalents, their share of the budget")
        if memory.last_probe is not None and observation.cost < self.interval * memory.last_probe:
            due = self.interval * memory.last_probe
            return self.stay(f"the next probe is due at {due:.4g} gradient-equivalents, {observation.cost:.4g} are spent")
        return self.stay("a probe of the convex phase is due", probe=True, probe_cost=probe_cost)

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Compare the two forecasts."""
        memory, budget = self.memory, _budget(observation)
        memory.last_probe = memory.costs[-1]
        memory.spent += probe.cost
        if probe.failure or not math.isfinite(probe.loss_after):
            return self.stay(f"the probe of the convex phase failed: {probe.failure or 'its loss is not finite'}")
        left = max(budget - max(observation.cost, memory.costs[-1] + probe.cost), 0.0)
        power = self._power()
        staying = forecast_staying(probe.loss_before, power, memory.costs[-1], left)
        swapping = forecast_swapping(probe, left)
        gain = staying - swapping
        return self.decide(
            gain > self.margin,
            f"with {left:.4g} gradient-equivalents left the final loss is forecast at {math.exp(swapping):.3g} by swapping now "
            f"and {math.exp(staying):.3g} by staying",
            forecast_swapping=math.exp(swapping),
            forecast_staying=math.exp(staying),
            gain=gain,
            first_phase_power=power,
            left=left,
        )

    def _power(self) -> float:
        """The first phase's power a, not below 0: a phase that climbs is not forecast to climb for ever."""
        costs, losses = self.memory.costs, self.memory.losses
        recent = trend.last_doubling(costs, _LEAST_POINTS)
        return max(trend.exponent(costs[recent], losses[recent]), 0.0)


class BudgetAware(After):
    """The peak opens the window, forecasts of both phases decide in it.

    Args:
        opener: The rule that opens the window; :class:`~homestretch.swap.peak.GradientNormPeak` by default.
        settings: Arguments of :class:`Forecast`.
    """

    def __init__(self, opener: SwapRule | None = None, **settings: float) -> None:
        super().__init__(opener or GradientNormPeak(), Forecast(**settings), name="budget-aware")


def forecast_staying(loss: float, power: float, cost: float, left: float) -> float:
    """Log of the loss after spending ``left`` more than ``cost`` in the first phase."""
    return trend.log(loss) - power * math.log((cost + left) / cost)


def forecast_swapping(probe: ProbeResult, left: float) -> float:
    """Log of the loss after spending ``left`` in the convex phase, from the point that the probe started at."""
    start = trend.log(probe.loss_before)
    reached = trend.log(probe.loss_after)
    costs, losses = [0.0, *(c for c, _ in probe.trace)], [probe.loss_before, *(f for _, f in probe.trace)]
    if left <= probe.cost:
        return start + (reached - start) * left / probe.cost
    halfway = trend.log_loss_at(probe.cost / 2.0, costs, losses) if probe.trace else start
    # Without a trace the whole probe stands for one doubling: its clock then starts a probe's length earlier.
    clock = left / probe.cost if probe.trace else 0.5 * (1.0 + left / probe.cost)
    power = max(halfway - reached, 0.0) / math.log(2.0)
    return reached - power * math.log(max(clock, 1.0))


def _budget(observation: Observation) -> float:
    if observation.budget is None:
        raise ValueError("this rule needs a budget: give the run its planned gradient-equivalents, or use another rule")
    return observation.budget
