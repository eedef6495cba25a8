"""One mini-batch step of the first phase, watched for its loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from homestretch.two_phase.choices import check_budget

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase


def first_step(optimizer: TwoPhase, closure: Callable[[], Any] | None) -> Any:
    """Let the first optimizer make a step; the mean over the epoch takes in what the closure is first found at.

    Raises:
        ValueError: If it is the first of all and the rule needs a budget that is still not known.
    """
    if not optimizer.first_steps:
        check_budget(optimizer.rule, optimizer.budget)
    if optimizer.inspection is not None and not len(optimizer.mean):
        optimizer.inspection.begin_epoch(optimizer)
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
