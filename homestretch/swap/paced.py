r"""The default rule where the budget is known: the peak opens the window, the first phase's pace chooses the moment in it.

Both phases are taken to follow power laws, the first phase :math:`L \propto c^{-a}` over the total cost c, the convex phase
:math:`c^{-b}` on a clock that starts with the swap. Then the final loss is lowest when the swap comes at the share
a / (a + b) of the budget (see :mod:`homestretch.swap.budget`). The power a is read off the first phase's record, epoch by
epoch: one that still falls fast is left alone for longer. The power b cannot be known before the convex phase runs, and a
short probe shows its slow start and nothing else; so it is assumed: 1, a loss halved by each doubling of its cost, which errs
on the late side. A method that has to gather curvature first spends some iterations at little gain: that start is taken off
the budget. What was assumed wrongly the safe resort corrects.

With many models and losses, a squared error on linear outputs for one, the norm is largest at the start and no peak ever comes.
A norm that has shown none in the first :math:`0.3` of the budget, and does not climb, is taken to have had it there. As nothing
but its silence speaks for the swap then, the convex phase is taken to make half the power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from homestretch import arguments, trend
from homestretch.decision import Decision
from homestretch.swap.base import Observation, ProbeResult, SwapRule
from homestretch.swap.budget import best_moment
from homestretch.swap.combine import After, AllOf, AnyOf, check_rule
from homestretch.swap.fixed import AtShare
from homestretch.swap.peak import GradientNormPeak
from homestretch.swap.settled import Settled

_FIRST_STEP = 3.0  # gradient-equivalents: an evaluation and one step with its search
_QUIET_RISE = 1.25  # above its trough a norm that has shown no peak counts as climbing from here on
_LEAST_POINTS = 4  # epochs that a trend of the first phase is taken over, at least


@dataclass
class PaceMemory:
    """The record of the first phase."""

    costs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class Pace(SwapRule):
    """Swap at the share a / (a + b) of the budget, with a measured and b assumed.

    Args:
        convex_power: The power b that the convex phase is taken to have; smaller swaps later.
        start_up: What the convex phase is taken to spend before it moves, in gradient-equivalents (about its iterations).
    """

    name = "pace"
    needs_budget = True
    Memory = PaceMemory
    memory: PaceMemory

    def __init__(self, convex_power: float = 1.0, *, start_up: float = 10.0) -> None:
        super().__init__()
        self.convex_power = arguments.positive("convex_power", convex_power)
        self.start_up = arguments.at_least("start_up", start_up, 0.0)

    def judge(self, observation: Observation) -> Decision:
        """Record the epoch and compare its cost with the best moment."""
        if observation.budget is None:
            raise ValueError("Pace needs a budget: give the run its planned gradient-equivalents, or use GradientNormPeak")
        memory = self.memory
        memory.costs.append(observation.cost)
        memory.losses.append(observation.loss)
        recent = trend.last_doubling(memory.costs, _LEAST_POINTS)
        costs, losses = memory.costs[recent], memory.losses[recent]
        if len(costs) < _LEAST_POINTS:
            return self.stay(f"{len(memory.costs)} epochs are too few for a trend, {_LEAST_POINTS} are needed")
        if min(losses) <= 0.0:
            return self.stay("a loss that is not positive has no power to go by")
        power = max(trend.exponent(costs, losses), 0.0)
        moment = best_moment(power, self.convex_power, max(observation.budget - self.start_up, 0.0))
        return self.decide(
            observation.cost >= moment,
            f"the first phase's loss falls as cost^-{power:.2g}, the convex phase's is assumed to fall as "
            f"cost^-{self.convex_power:.2g} once {self.start_up:.4g} are spent on its start: the best moment is {moment:.4g} "
            f"of {observation.budget:.4g} gradient-equivalents, {observation.cost:.4g} are spent",
            first_phase_power=power,
            best_moment=moment,
        )


class FullBatches(AtShare):
    """Swap at a share of the budget if the first phase makes one step an epoch, on all the data.

    Then no mini-batch noise speaks for the first phase, and its cheap steps are not cheap.

    Args:
        share: Share of the planned gradient-equivalents, above 0 and at most 1.
    """

    name = "full-batches"
    needs_budget = False  # on mini-batches it asks for none

    def judge(self, observation: Observation) -> Decision:
        """Look at the steps, then at what is spent of the budget."""
        if observation.epoch_steps != 1:
            return self.stay("the first phase works on mini-batches")
        return super().judge(observation)


class PacedPeak(AnyOf):
    """The peak of the gradient norm opens the window, the pace of the first phase and the budget choose the moment in it.

    Needs a budget, and no probes. A first phase on full batches is not waited for beyond ``full_batch_share``. One whose
    gradient norm shows no peak and does not climb ends at the moment for half the ``convex_power``, from ``quiet_share`` on,
    and at ``latest`` whatever its pace. A run whose norm still climbs when the budget ends does not swap, nor does one whose
    moment comes when what is left would pay for less than twice the convex phase's start.

    Args:
        opener: The rule that opens the window; :class:`~homestretch.swap.peak.GradientNormPeak` by default.
        convex_power: See :class:`Pace`.
        start_up: See :class:`Pace`; no swap on mini-batches comes later than twice this before the end of the budget, none at
            all where less than 3 gradient-equivalents are left.
        latest: Share of the budget from which to swap without a peak, once the norm is not climbing.
        quiet_share: Share of the budget from which a norm that shows no peak and no climb is taken to have been largest at the
            start; 1 switches this off.
        full_batch_share: Share of the budget for a first phase on full batches.
    """

    def __init__(
        self,
        opener: SwapRule | None = None,
        *,
        convex_power: float = 1.0,
        start_up: float = 10.0,
        latest: float = 0.75,
        quiet_share: float = 0.3,
        full_batch_share: float = 0.1,
    ) -> None:
        shares = {"latest": latest, "quiet_share": quiet_share, "full_batch_share": full_batch_share}
        for name, share in shares.items():
            arguments.fraction(name, share)
        peak = GradientNormPeak(fallback_share=None) if opener is None else check_rule("opener", opener)
        self._window = After(peak, Pace(convex_power, start_up=start_up))
        quiet = AllOf(AtShare(quiet_share), Settled(rise=_QUIET_RISE), Pace(0.5 * convex_power, start_up=start_up))
        self._peakless = (quiet, AllOf(AtShare(latest), Settled()))
        super().__init__(self._window, *self._peakless, FullBatches(full_batch_share), name="paced-peak")
        self.start_up = arguments.at_least("start_up", start_up, 0.0)

    def judge(self, observation: Observation) -> Decision:
        """Ask all parts, then see that the budget pays for more than the convex phase's start."""
        return self._within_budget(observation, super().judge(observation))

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Likewise, with the answer to a probe that the opener asked for."""
        return self._within_budget(observation, super().weigh(observation, probe))

    def _count(self, decisions: Sequence[Decision]) -> Decision:
        """The vote of the parts, for the reasons of those that settle it, or of those that it waits for now."""
        counted = super()._count(decisions)
        window, *peakless, full = decisions
        ways = [("", window), *(("without a peak: ", d) for d in peakless), ("on full batches: ", full)]
        if counted.swap:
            said = [(way, d) for way, d in ways if d.swap]
        else:
            due = [way for way, part in zip(ways[1:3], self._peakless, strict=True) if part.memory.wants[0]]
            closed = not self._window.memory.opened
            said = [ways[0], *(due[-1:] if closed else []), *(ways[3:] if full.values else [])]
        return replace(counted, reason="; ".join(f"{way}{d.reason}" for way, d in said))

    def _within_budget(self, observation: Observation, decision: Decision) -> Decision:
        if observation.budget is None:
            return decision
        left = max(observation.budget - observation.cost, 0.0)  # a sum of mini-batches' shares has its rounding
        needed = _FIRST_STEP if observation.epoch_steps == 1 else 2.0 * self.start_up
        if left >= needed:
            return decision
        short = f"{left:.4g} gradient-equivalents are left, and a convex phase that pays needs {needed:.4g}"
        reason = f"{short} ({decision.reason})" if decision.swap else f"{decision.reason}; {short}"
        return replace(decision, swap=False, reason=reason)


def default_rule(budget: float | None) -> SwapRule:
    """The rule of a run that was given none: the peak alone where the end is open."""
    return GradientNormPeak() if budget is None else PacedPeak()
