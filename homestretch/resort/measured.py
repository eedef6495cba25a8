r"""Going back when the convex phase lags behind the trend of the first.

The first phase's own record gives the power a of :math:`L \propto c^{-a}`, a robust slope of log loss over log cost since the
cost was half of what it was at the swap. So from the loss :math:`L_0` at the swap, at cost :math:`c_0`, the first phase would
have reached a loss :math:`\ell` at cost :math:`e(\ell) = c_0 (L_0 / \ell)^{1/a}`. A convex phase that stands at :math:`\ell`
at cost c lags behind by :math:`d = c - e(\ell)` gradient-equivalents.

**Bounded regret.** Whoever goes back at a lag d from the best point, with the budget B, ends at :math:`L(B - d)` in place of
:math:`L(B)`: worse by the factor :math:`(B / (B - d))^a`. That is :math:`1 + \epsilon` for

.. math:: D = B \left(1 - (1 + \epsilon)^{-1/a}\right),

so a convex phase that lags by less is left alone. It holds as far as the power law does, and as the first optimizer takes up
its pace from the convex phase's best point. Losses that are not positive have no such trend: then only failures lead back.

**A fair trial.** A method that gathers curvature begins slowly, and on a short budget D may be less than one of its
iterations. So nothing is held against its first iterations, and beyond the lag D it still goes on while it is catching up:
with the rate :math:`r = \ln(\ell_{1/2} / \ell) / (c - c_{1/2})` of the latter half of its own clock it would end at

.. math:: \ell e^{-r (B - c)} \quad\text{against}\quad \ell \left(\frac{e(\ell)}{e(\ell) + B - c - \rho c}\right)^{a}

after going back now. The first optimizer does not take up its pace at once: its steps and moments belong to another place, and
on mini-batches its noise lifts the loss above that of the point it is given. It took 36, 37, 42 and 50 epochs to be back there
when it came back after 176, 175, 170 and 213 of 300 (CIFAR-10, two transformers, four runs): hence :math:`\rho`. Both
forecasts err on the low side, there by 11 to 40 % for the first phase, so it goes back only where the first phase is ahead by a
margin. The price is that a lost try may cost more than :math:`\epsilon`: what its trial costs, and what it promised and did not
keep.

**The last stretch.** Where the first phase works on mini-batches at a rate that does not fall, its noise keeps the loss above
what is under it, and the first iterations on all the data take that away, whoever is faster in the long run. So after a
return the swap rule is asked once more when a last share of the budget is left.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.resort.base import Resort

_USUAL_POWER = 1.0  # of a first phase that was too short to show one
_LONGEST = 100.0  # bound on the logarithm of a forecast cost over the present one: more is as good as never
_MOST_POINTS = 256  # of the convex phase's course that are remembered


class MeasuredResort(Resort):
    """Go back when the convex phase lags so far behind the first phase's trend that the final loss is at stake.

    It goes back when, after a trial, the lag (see above) is beyond what ``allowance`` permits and the convex phase is not
    catching up in time; at once after a step to a loss that is not finite, or a spike; and after a failure, unless the loss is
    within the margin of what the first phase is forecast to reach in all that is left of the budget. A first phase of fewer
    than four epochs is taken to fall as its cost grows. Without a budget the run is taken to go on for as long again as it took
    up to now.

    Args:
        allowance: What a lag may cost before the forecasts are looked at, as a share of the final loss (0.05: five per cent).
        margin: By what share the forecast of the convex phase must be above that of the first.
        recovery: What the first phase takes to be back at the loss it is given, as a share of the cost so far.
        trial: Iterations of the convex phase before its lag is judged, within half of the budget that is left at the swap.
        spike: Loss over the lowest loss of this convex phase that sends it back at once, a factor above 1.
        retry_after: Epochs of the first phase after which the swap rule is asked again, twice as many after each further
            return; ``None`` for never. Each further try may cost as much again.
        last_stretch: Share of the budget before whose end the swap rule is asked once more after a return; 0 for never.
    """

    name = "measured-resort"

    def __init__(
        self,
        *,
        allowance: float = 0.05,
        margin: float = 0.15,
        recovery: float = 0.2,
        trial: int = 10,
        spike: float = 2.0,
        retry_after: int | None = None,
        last_stretch: float = 0.12,
    ) -> None:
        super().__init__(retry_after, last_stretch)
        self.allowance = arguments.positive("allowance", allowance)
        self.margin = arguments.at_least("margin", margin, 0.0)
        self.recovery = arguments.at_least("recovery", recovery, 0.0)
        self.trial = arguments.count("trial", trial)
        self.spike = arguments.positive("spike", spike)
        if spike <= 1.0:
            raise ValueError(f"spike must be above 1, got {spike}: it is a factor on the lowest loss")

    def judge(self, cost: float, loss: float, failure: str | None) -> Decision:
        """Look for failures, then compare with the first phase's trend."""
        lowest = self.memory.lowest
        if not math.isfinite(loss):
            return self.decide(True, f"the convex phase failed: {failure or f'its loss is {loss}'}", loss=loss)
        if lowest > 0.0 and loss > self.spike * lowest:
            reason = f"loss {loss:.3g} is {loss / lowest:.3g} times the lowest, {lowest:.3g}"
            return self.decide(True, reason, loss=loss, lowest=lowest)
        if failure:
            return self._after_failure(cost, loss, failure)
        self._remember(cost, min(loss, lowest))
        return self._compare(cost, loss)

    def _after_failure(self, cost: float, loss: float, failure: str) -> Decision:
        memory = self.memory
        power = _USUAL_POWER if memory.power is None else memory.power
        if memory.loss <= 0.0:
            return self.decide(True, f"the convex phase failed: {failure}", loss=loss)
        forecast = math.exp(trend.log(memory.loss) - power * math.log(max(self._horizon(cost) / memory.cost, 1.0)))
        back = loss > (1.0 + self.margin) * forecast
        relation = "above" if back else "not above"
        where = f"loss {loss:.3g} is {relation} {1.0 + self.margin:.3g} times what the first phase is forecast to reach"
        how = "" if memory.power is not None else " if its loss falls as its cost grows, for it has shown no trend"
        reason = f"{failure}; {where}{how}, {forecast:.3g}"
        return self.decide(back, reason, loss=loss, forecast=forecast)

    def _compare(self, cost: float, loss: float) -> Decision:
        power = self.memory.power
        if power is None:
            return self.decide(False, "the first phase has no trend to compare with")
        lag, allowed = cost - self._reached_at(loss), self._allowed(cost)
        where = f"{abs(lag):.3g} gradient-equivalents {'behind' if lag > 0.0 else 'ahead of'} the first phase's trend"
        reason = f"loss {loss:.3g} is {where} (power {power:.2g}); {allowed:.3g} behind are allowed"
        values = {"lag": lag, "allowed": allowed, "first_phase_power": power}
        if lag < allowed:
            return self.decide(False, reason, loss=loss, **values)
        if self._on_trial(cost):
            return self.decide(False, f"{reason}, after a trial of {self.trial} iterations", loss=loss, **values)
        stay, back = self._forecasts(cost)
        reason = f"{reason}; it is forecast to end at {stay:.3g}, the first phase from here at {back:.3g}"
        behind = stay > (1.0 + self.margin) * back
        return self.decide(behind, reason, loss=loss, **values, forecast=stay, first_phase_forecast=back)

    def _on_trial(self, cost: float) -> bool:
        """Whether the convex phase has run too briefly to be judged by its lag."""
        memory = self.memory
        longest = (self._horizon(memory.cost) - memory.cost) / 2.0
        return memory.steps < self.trial and cost - memory.cost < longest

    def _forecasts(self, cost: float) -> tuple[float, float]:
        """Final losses: of the convex phase at the rate of its latter half, and of the first phase after going back now."""
        memory, rest = self.memory, self._horizon(cost) - cost
        half = max(bisect_right(memory.costs, (memory.cost + cost) / 2.0) - 1, 0)
        low, since = trend.log(memory.lows[-1]), cost - memory.costs[half]
        rate = (trend.log(memory.lows[half]) - low) / since if since > 0.0 else 0.0
        reached = self._reached_at(memory.lows[-1])
        useful = max(rest - self.recovery * cost, 0.0)
        back = low - (memory.power or 0.0) * math.log1p(useful / reached)
        return math.exp(low - rate * rest), math.exp(back)

    def _remember(self, cost: float, low: float) -> None:
        """Add a point to the course; once there are too many, every other one is forgotten, and their distance doubles."""
        memory = self.memory
        if memory.steps % memory.stride and len(memory.costs) > 1:
            memory.costs[-1:], memory.lows[-1:] = [cost], [low]
            return
        memory.costs.append(cost)
        memory.lows.append(low)
        if len(memory.costs) > _MOST_POINTS:
            memory.costs, memory.lows, memory.stride = memory.costs[::2], memory.lows[::2], 2 * memory.stride

    def _horizon(self, cost: float) -> float:
        budget = self.memory.budget
        return 2.0 * cost if budget is None else max(budget, cost)

    def _allowed(self, cost: float) -> float:
        """The lag D at which going back costs the allowance."""
        power = self.memory.power
        return self._horizon(cost) * (1.0 - (1.0 + self.allowance) ** (-1.0 / power)) if power else math.inf

    def _reached_at(self, loss: float) -> float:
        """The cost at which the first phase would reach a loss; infinite where it makes no progress."""
        memory = self.memory
        gained = trend.log(memory.loss) - trend.log(loss)
        if not memory.power:
            return math.inf if gained > 0.0 else memory.cost
        return memory.cost * math.exp(min(gained / memory.power, _LONGEST))
