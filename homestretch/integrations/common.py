"""What all integrations share: the error for a missing library, and the end of an epoch in somebody else's loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeGuard

from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from homestretch.descent import Descent
from homestretch.two_phase import TwoPhase


def missing(library: str) -> ImportError:
    """The error for a library that is not installed, naming the extra that brings it."""
    return ImportError(f'homestretch.integrations.{library} needs {library}: pip install "homestretch[integrations]"')


def in_second_phase(optimizer: Optimizer) -> bool:
    """Whether the next step is one of the convex phase, which needs a closure over all the data."""
    return isinstance(optimizer, Descent) or (isinstance(optimizer, TwoPhase) and optimizer.phase == "second")


def is_ours(optimizer: object) -> TypeGuard[Descent | TwoPhase]:
    """Whether an optimizer is one that the integrations know how to drive."""
    return isinstance(optimizer, (Descent, TwoPhase))


def plan_budget(optimizer: Optimizer, epochs: int | None) -> None:
    """Tell a :class:`~homestretch.TwoPhase` without a budget how many epochs are planned.

    A rule that knows no end may wait for ever. An epoch is one gradient-equivalent, as in :func:`~homestretch.fit`.

    Args:
        optimizer: The optimizer; any but a TwoPhase is left alone, and so is a budget that the user set.
        epochs: Epochs to make; ``None`` or none at all for a run whose end is open.
    """
    if isinstance(optimizer, TwoPhase) and epochs is not None and epochs > 0:
        optimizer.plan(float(epochs))


def end_epoch(optimizer: Optimizer) -> str:
    """Close an epoch; a :class:`~homestretch.TwoPhase` then asks its rule or its resort.

    Returns:
        Why training should end now, a sentence; empty while it should go on.
    """
    if isinstance(optimizer, TwoPhase):
        optimizer.end_epoch()
    if not in_second_phase(optimizer):
        return ""
    descent = optimizer.second if isinstance(optimizer, TwoPhase) else optimizer
    reason = descent.stop_reason if isinstance(descent, Descent) else None
    return "" if reason is None else f"{type(descent).__name__} stopped: {reason.value}"


def step_with_call(step: Callable[..., Any], closure: Callable[[], Any], **options: Any) -> Any:
    """One step, and a call of the closure if the step made none.

    A method that stops for a reason it knows beforehand evaluates nothing; Lightning and skorch take what the closure computed
    for the step's result, and fail without one.
    """
    called = False

    def watched() -> Any:
        nonlocal called
        called = True
        return closure()

    result = step(watched, **options)
    if not called:
        closure()
    return result


def warn_about_dropout(module: nn.Module) -> None:
    """Warn if the training loop of the other library would leave the loss random, which no line search can descend."""
    active = [name for name, part in module.named_modules() if isinstance(part, _DropoutNd) and part.p > 0.0]
    if active:
        warnings.warn(
            f"dropout ({', '.join(active)}) makes the loss random, and the convex phase needs a fixed one: set p=0 before the "
            "swap, or train with homestretch.fit, whose full passes switch dropout off",
            stacklevel=3,
        )
