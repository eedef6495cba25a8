r"""Going back when the convex phase lags behind the trend of the first.

The first phase's own record gives the power a of :math:`L \propto c^{-a}`, a robust slope of log loss over log cost since the
cost was half of what it was at the swap. So from the loss :math:`L_0` at the swap, at cost :math:`c_0`, the first phase would
have reached a loss :math:`\ell` at cost :math:`e(\ell) = c_0 (L_0 / \ell)^{1/a}`. A convex phase that stands at :math:`\ell`
at cost c lags behind by :math:`d = c - e(\ell)` gradient-equivalents.

**Bounded regret.** Whoever goes back at a lag d from the best point, with the budget B, ends at :math:`L(B - d)` in place of
:math:`L(B)`: worse by the factor :math:`(B / (B - d))^a`. That is :math:`1 + \epsilon` for

.. math:: D = B \left(1 - (1 + \epsilon)^{-1/a}\right),

so a convex phase may lag by D and no more. It bounds what a lost try costs and leaves room for a slow start. It holds as far as
the power law does, and as the first optimizer takes up its pace from the convex phase's best point. Losses that are not
positive have no such trend: then only failures lead back.
"""

from __future__ import annotations

import math

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.resort.base import Resort

_LONGEST = 100.0  # bound on the logarithm of a forecast cost over the present one: more is as good as never


class MeasuredResort(Resort):
    """Go back when the convex phase lags so far behind the first phase's trend that the final loss is at stake.

    It goes back when the lag (see above) reaches what ``allowance`` permits; at once after a loss that is not finite or a
    spike; and after a failure, unless the loss is already below what the first phase is forecast to reach in all that is
    left of the budget. Without a budget the run is taken to go on for as long again as it took up to now.

    Args:
        allowance: What a lost try may cost, as a share of the final loss (0.05: five per cent).
        spike: Loss over the lowest loss of this convex phase that sends it back at once, a factor above 1.
        retry_after: Epochs of the first phase after which the swap rule is asked again, twice as many after each further
            return; ``None`` for never. Each further try may cost as much again.
    """

    name = "measured-resort"

    def __init__(self, *, allowance: float = 0.05, spike: float = 2.0, retry_after: int | None = None) -> None:
        super().__init__(retry_after)
        self.allowance = arguments.positive("allowance", allowance)
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
        return self._after_failure(cost, loss, failure) if failure else self._compare(cost, loss)

    def _after_failure(self, cost: float, loss: float, failure: str) -> Decision:
        memory, power = self.memory, self.memory.power
        if power is None:
            return self.decide(True, f"the convex phase failed: {failure}", loss=loss)
        forecast = math.exp(trend.log(memory.loss) - power * math.log(max(self._horizon(cost) / memory.cost, 1.0)))
        back = loss > forecast
        relation = "above" if back else "not above"
        reason = f"{failure}; loss {loss:.3g} is {relation} what the first phase is forecast to reach, {forecast:.3g}"
        return self.decide(back, reason, loss=loss, forecast=forecast)

    def _compare(self, cost: float, loss: float) -> Decision:
        power = self.memory.power
        if power is None:
            return self.decide(False, "the first phase has no trend to compare with")
        lag = cost - self._reached_at(loss)
        allowed = self._allowed(cost)
        where = f"{abs(lag):.3g} gradient-equivalents {'behind' if lag > 0.0 else 'ahead of'} the first phase's trend"
        reason = f"loss {loss:.3g} is {where} (power {power:.2g}); {allowed:.3g} behind are allowed"
        return self.decide(lag >= allowed, reason, loss=loss, lag=lag, allowed=allowed, first_phase_power=power)

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
