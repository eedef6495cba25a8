"""What all integrations share: the error for a missing library, and steps and epochs in somebody else's loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeGuard, TypeVar

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from homestretch import vectors
from homestretch.descent import Descent
from homestretch.objective.statistics import Layer, tracking_layers
from homestretch.two_phase import TwoPhase

T = TypeVar("T")
_INTEGERS = {4: torch.int32, 8: torch.int64}  # of the size of a parameter's numbers


def missing(library: str) -> ImportError:
    """The error for a library that is not installed, naming the extra that brings it."""
    return ImportError(f'homestretch.integrations.{library} needs {library}: pip install "homestretch[integrations]"')


def convex_method(optimizer: Optimizer) -> Descent | None:
    """The method that makes the next step, if that is one of the convex phase."""
    if isinstance(optimizer, TwoPhase):
        return optimizer.second if optimizer.phase == "second" else None
    return optimizer if isinstance(optimizer, Descent) else None


def in_second_phase(optimizer: Optimizer) -> bool:
    """Whether the next step is one of the convex phase, which needs a closure over all the data."""
    return convex_method(optimizer) is not None


def renew(optimizer: Optimizer) -> None:
    """Tell the convex phase, if it has begun, that the loss may be another one: its next step evaluates the point again."""
    method = convex_method(optimizer)
    if method is not None:
        method.renew()


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


def plan_further(optimizer: Optimizer, epochs: int | None) -> None:
    """Likewise, where this many epochs are going to be made after what has been spent."""
    spent = round(optimizer.spent) if isinstance(optimizer, TwoPhase) else 0
    plan_budget(optimizer, None if epochs is None else spent + epochs)


def end_epoch(optimizer: Optimizer, passes: float = 1.0) -> str:
    """Close an epoch; a :class:`~homestretch.TwoPhase` then asks its rule or its resort.

    Args:
        optimizer: The optimizer.
        passes: Passes over all the data that the first phase made in it.

    Returns:
        Why training should end now, a sentence; empty while it should go on.
    """
    if isinstance(optimizer, TwoPhase):
        optimizer.end_epoch(passes=passes)
    method = convex_method(optimizer)
    reason = None if method is None else method.stop_reason
    return "" if reason is None else f"{type(method).__name__} stopped: {reason.value}"


class Trials(Generic[T]):
    """What a closure left behind at the points of a line search, of which one is accepted, and not always the last.

    Args:
        optimizer: Its parameters make up a point.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        moved = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self._bits = [p.view(_INTEGERS[p.element_size()]) for p in vectors.locals_of(moved)]
        self._left: dict[tuple[int, ...], T] = {}

    def note(self, left: T) -> None:
        """Remember what was left at the present point."""
        self._left[self._point()] = left

    def accepted(self) -> T | None:
        """What was left at the present point; ``None`` if that is no trial."""
        return self._left.get(self._point())

    def _point(self) -> tuple[int, ...]:
        """Checksums of the parameters, made where they are: a search goes back to one of its trials bit for bit."""
        sums = [bits.sum(dtype=torch.int64).to(self._bits[0].device) for bits in self._bits]
        return tuple(torch.stack(sums).tolist())


def step_to_accepted(step: Callable[..., Any], closure: Callable[[], Any], optimizer: Optimizer, module: nn.Module) -> Any:
    """A step after which what the closure leaves behind in the convex phase is that of the accepted point.

    Lightning and skorch take what a closure computed for the step's result, and fail without one. In training mode each
    evaluation moves the running statistics of batch norms; after the step they are those of all the data at the accepted
    point. This costs an evaluation, which is not counted, where the step itself made none there, because it found no
    decrease or had stopped.

    Args:
        step: Makes the step with a closure.
        closure: The other library's closure.
        optimizer: The optimizer whose step it is.
        module: What the closure evaluates.

    Returns:
        The step's result.
    """
    if not in_second_phase(optimizer):
        return step(closure)
    layers = tracking_layers(module)
    trials: Trials[list[torch.Tensor]] = Trials(optimizer)

    def watched() -> Any:
        loss = closure()
        trials.note(vectors.clone(_statistics(layers)))
        return loss

    with _statistics_of_one_batch(layers):
        result = step(watched)
        if trials.accepted() is None:
            optimizer.zero_grad(set_to_none=True)  # so that the gradients that the method holds are not written into
            watched()
    vectors.copy_(_statistics(layers), trials.accepted() or [])
    return result


def _statistics(layers: Sequence[Layer]) -> list[torch.Tensor]:
    return [t for _, mean, variance in layers for t in (mean, variance)]


@contextmanager
def _statistics_of_one_batch(layers: Sequence[Layer]) -> Iterator[None]:
    """Let every batch replace the running statistics by its own."""
    momenta = [layer.momentum for layer, _, _ in layers]
    for layer, _, _ in layers:
        layer.momentum = 1.0
    try:
        yield
    finally:
        for (layer, _, _), momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def warn_about_dropout(module: nn.Module) -> None:
    """Warn if the training loop of the other library would leave the loss random, which no line search can descend."""
    active = [name for name, part in module.named_modules() if isinstance(part, _DropoutNd) and part.p > 0.0]
    if active:
        warnings.warn(
            f"dropout ({', '.join(active)}) makes the loss random, and the convex phase needs a fixed one: set p=0 before the "
            "swap, or train with homestretch.fit, whose full passes switch dropout off",
            stacklevel=3,
        )
