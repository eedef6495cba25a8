"""Swaps at a moment fixed in advance: an epoch, a step, a share of the budget, never."""

from __future__ import annotations

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule


class AtEpoch(SwapRule):
    """Swap after a given epoch.

    Args:
        epoch: Last epoch of the first phase.
    """

    name = "at-epoch"

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = arguments.count("epoch", epoch)

    def judge(self, observation: Observation) -> Decision:
        """Compare the epoch's number."""
        return self.decide(
            observation.epoch >= self.epoch, f"epoch {observation.epoch}, the swap is set after epoch {self.epoch}"
        )


class AtStep(SwapRule):
    """Swap at the end of the epoch in which the first optimizer makes a given step.

    Args:
        step: Number of steps.
    """

    name = "at-step"

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = arguments.count("step", step)

    def judge(self, observation: Observation) -> Decision:
        """Compare the steps so far."""
        if observation.step is None:
            raise ValueError("AtStep needs the number of steps in each observation: give it, or use AtEpoch")
        return self.decide(
            observation.step >= self.step, f"{observation.step} steps, the swap is set after {self.step}", step=observation.step
        )


class AtShare(SwapRule):
    """Swap when a share of the budget is spent.

    The source's printed runs are this rule at 0.3, whatever the gradient norm did.

    Args:
        share: Share of the planned gradient-equivalents, above 0 and at most 1.
    """

    name = "at-share"
    needs_budget = True

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = arguments.fraction("share", share)

    def judge(self, observation: Observation) -> Decision:
        """Compare what is spent with the budget."""
        if observation.budget is None:
            raise ValueError("AtShare needs a budget: give the run its planned epochs or gradient-equivalents, or use AtEpoch")
        spent = observation.cost / observation.budget
        return self.decide(
            # Costs are sums of mini-batches' shares, whose rounding must not move the swap by an epoch.
            spent >= self.share * (1.0 - 1e-9),
            f"{observation.cost:.4g} of {observation.budget:.4g} gradient-equivalents are spent ({spent:.1%}), "
            f"a swap is due from {self.share:.1%} on",
            share=spent,
        )


class Never(SwapRule):
    """Keep to the first phase: the baseline."""

    name = "never"

    def judge(self, observation: Observation) -> Decision:
        """Always no."""
        return self.stay("this run keeps to its first phase")
