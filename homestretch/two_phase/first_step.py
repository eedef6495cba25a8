"""One mini-batch step of the first phase, watched for its loss and its gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from homestretch.errors import HomestretchWarning
from homestretch.two_phase.choices import check_budget

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase

_LONGEST = 10.0  # passes that no first epoch of a loop takes by oversight


def first_step(optimizer: TwoPhase, closure: Callable[[], Any] | None) -> Any:
    """Let the first optimizer make a step; the mean over the epoch takes in what the closure is first found at.

    Raises:
        ValueError: If it is the first of all and the rule needs a budget that is still not known.

    Warns:
        HomestretchWarning: Once, if half of the budget is spent and no epoch was ended: such a run never swaps.
    """
    if not optimizer.first_steps:
        check_budget(optimizer.rule, optimizer.budget)
    if optimizer.inspection is not None and not len(optimizer.mean):
        optimizer.inspection.begin_epoch(optimizer)
    _warn_of_no_end(optimizer)
    optimizer.first_steps += 1
    if closure is None:
        optimizer.mean.add(None)
        return optimizer.first.step()
    weight = float(getattr(closure, "epoch_weight", getattr(closure, "fraction", 1.0)))
    taken = False

    def watched() -> Any:
        nonlocal taken
        loss = closure()
        if not taken:
            optimizer.mean.add(loss, weight)
            taken = True
        return loss

    return optimizer.first.step(watched)


def _warn_of_no_end(optimizer: TwoPhase) -> None:
    if optimizer.epochs or optimizer.budget is None or optimizer.told:
        return
    if optimizer.spent >= max(0.5 * optimizer.budget, _LONGEST):
        optimizer.told = True
        warnings.warn(
            f"{optimizer.spent:.4g} of {optimizer.budget:.4g} gradient-equivalents are spent and no epoch was ended, so the "
            "swap rule was never asked: take the closures from `for closure in optimizer.epoch()`, or call end_epoch() after "
            "each epoch of a loop of your own",
            HomestretchWarning,
            stacklevel=5,  # torch wraps step
        )
