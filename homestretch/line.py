r"""The objective along one direction: all that a line search may see.

.. math:: \phi(a) = f(x + a d), \qquad \phi'(a) = \langle \nabla f(x + a d), d \rangle
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import torch.distributed as dist
from torch import Tensor

from homestretch import vectors
from homestretch.cost import GRADIENT
from homestretch.objective.base import Function
from homestretch.vectors import Vector

_SHORTER = 0.1  # of a step whose gradient is not finite
_MOST_SHORTER = 16  # times that


class SearchStatus(Enum):
    """How a line search ended; the value is a sentence for the record."""

    CONVERGED = "the step meets the search's conditions"
    ROUNDING = "the step meets them as far as rounding lets losses be told apart"
    LIMIT = "the search used up its evaluations; its best step is returned"
    RESOLVED = "no step meets the conditions where steps can be told apart; the best one is returned"
    NO_DECREASE = "no step with a lower loss was found"
    REJECTED = "the step lowers the loss, but by too little of what was promised"
    NON_FINITE = "every step tried gave a loss or gradient that is not finite"
    UNBOUNDED = "the loss fell below every bound along the direction"
    BUDGET = "the budget was spent; its best step is returned"


@dataclass(frozen=True)
class SearchResult:
    """What a search returns.

    Attributes:
        step: The step found, 0 if none is better than the start.
        loss: Loss there.
        slope: Directional derivative there, ``None`` if the search did not evaluate it.
        status: How the search ended.
    """

    step: float
    loss: float
    slope: float | None
    status: SearchStatus


class LineFunction(Protocol):
    """What a search may ask for.

    Attributes:
        start_loss: Loss at step 0.
        start_slope: Directional derivative at step 0, negative.
        first_step: The step to try first, positive.
        scaled: Whether ``first_step`` comes from a method that knows its own step length.
        noise: Differences of losses smaller than this cannot be told from rounding.
        cheap_loss: Whether :meth:`loss` costs less than :meth:`loss_and_slope`.
    """

    start_loss: float
    start_slope: float
    first_step: float
    scaled: bool
    noise: float
    cheap_loss: bool

    def exhausted(self, *, graded: bool) -> bool:
        """Whether the budget allows no further evaluation, with a gradient or not: end with the best step there is."""
        ...

    def loss(self, step: float) -> float:
        """Loss at ``step``; infinite where it is not finite."""
        ...

    def loss_and_slope(self, step: float) -> tuple[float, float]:
        """Loss and directional derivative at ``step``; infinite and NaN where either is not finite."""
        ...


class Search(Protocol):
    """A line search: how far to go along a line."""

    def __call__(self, line: LineFunction) -> SearchResult:
        """Find a step. Must not change anything but through ``line``."""
        ...


class Line:
    """A line through the parameter space of a function.

    Moves the parameters while it is evaluated; :meth:`commit` leaves them at one of the steps with ``.grad`` filled, and
    :meth:`restore` puts them back. The gradient of the best step so far is kept only while a later trial would
    overwrite it.

    Args:
        function: The function to minimise.
        parameters: Local parts of the parameters, moved in place.
        gradient: Returns the local parts of the current ``.grad``.
        start: Buffer that holds the start; it must equal the parameters now.
        direction: The direction, left alone.
        loss: Loss at the start.
        slope: Directional derivative at the start.
        first_step: The step to try first.
        scaled: Whether that is more than a guess.
        noise: Rounding allowance of the loss.
        groups: Process groups over which inner products are summed.
        cheap_loss: Whether the function can be evaluated without its gradient at a lower price.
        spent: Tells whether the budget is spent, with a price set aside.
    """

    def __init__(
        self,
        function: Function,
        parameters: Sequence[Tensor],
        gradient: GradientReader,
        start: Vector,
        direction: Vector,
        *,
        loss: float,
        slope: float,
        first_step: float,
        scaled: bool = False,
        noise: float,
        groups: Sequence[dist.ProcessGroup] = (),
        cheap_loss: bool = True,
        spent: Callable[[float], object] | None = None,
    ) -> None:
        self.start_loss = loss
        self.start_slope = slope
        self.first_step = first_step
        self.scaled = scaled
        self.noise = noise
        self.cheap_loss = cheap_loss
        self.forwards = 0
        self.gradients = 0
        self._function = function
        self._parameters = parameters
        self._gradient = gradient
        self._start = start
        self._direction = direction
        self._groups = groups
        self._spent = spent
        self._at = 0.0
        self._graded: _Graded | None = None  # the step whose gradient is in .grad
        self._kept: _Graded | None = None  # the best step with a gradient, copied before .grad is overwritten
        self.seen: dict[float, float] = {0.0: loss}

    def exhausted(self, *, graded: bool) -> bool:
        """Whether the budget is spent.

        The price of a gradient is set aside for the step that is committed, unless it has one already: that is so if the
        best step has one and the next trial will.
        """
        if self._spent is None or not self._spent(GRADIENT):
            return False
        best, _ = self.best()
        at_hand = best == 0.0 or any(g is not None and g.step == best for g in (self._graded, self._kept))
        return not (graded and at_hand) or bool(self._spent(0.0))

    def loss(self, step: float) -> float:
        """Loss at ``step``: forward only where the function can."""
        if not self.cheap_loss:
            return self.loss_and_slope(step)[0]
        self._move(step)
        self.forwards += 1
        return self._remember(step, self._function.loss())

    def loss_and_slope(self, step: float) -> tuple[float, float]:
        """Loss and directional derivative at ``step``."""
        self._save_if_best()
        self._move(step)
        self.gradients += 1
        loss = float(self._function())
        gradient = self._gradient()
        slope, square = vectors.dots([(gradient, self._direction), (gradient, gradient)], self._groups)
        if not (math.isfinite(loss) and math.isfinite(slope)):
            self._graded = None
            unbounded = loss == -math.inf
            return self._remember(step, loss if unbounded else math.inf), math.nan
        self._graded = _Graded(step, self._remember(step, loss), slope, square, None)
        return loss, slope

    def commit(self, step: float) -> tuple[float, float, float]:
        """Leave the parameters at ``step`` with ``.grad`` filled; returns loss, slope and norm of the gradient there."""
        kept = self._kept
        if self._graded is not None and self._graded.step == step:
            self._move(step)
            return self._graded.numbers
        if kept is not None and kept.step == step and kept.gradient is not None:
            self._move(step)
            vectors.copy_(self._gradient(), kept.gradient)
            return kept.numbers
        loss, slope = self.loss_and_slope(step)
        return (loss, slope, math.nan) if self._graded is None else self._graded.numbers

    def commit_finite(self, step: float, *, shorten: bool) -> tuple[float, float, float, float]:
        """Like :meth:`commit`, and returns the step too: 0 where loss or gradient are not finite.

        Args:
            step: The step.
            shorten: Whether to try shorter ones then, while they promise more than noise. A search by forward passes cannot
                know that it has led to where the loss is finite and its gradient is not.
        """
        numbers = self.commit(step)
        for _ in range(_MOST_SHORTER if shorten else 0):
            spent = self._spent is not None and self._spent(0.0)
            if math.isfinite(numbers[0] + numbers[1]) or spent or -_SHORTER * step * self.start_slope <= self.noise:
                break
            step *= _SHORTER
            numbers = self.commit(step)
        return (step if math.isfinite(numbers[0] + numbers[1]) else 0.0, *numbers)

    def restore(self) -> None:
        """Put the parameters back to the start, bit for bit. ``.grad`` is not restored."""
        vectors.copy_(self._parameters, self._start)
        self._at = 0.0

    def best(self) -> tuple[float, float]:
        """The step with the lowest loss seen, and that loss."""
        step = min(self.seen, key=lambda a: (self.seen[a], a))
        return step, self.seen[step]

    def _move(self, step: float) -> None:
        if step != self._at:
            vectors.assign_sum_(self._parameters, self._start, self._direction, step)
            self._at = step

    def _remember(self, step: float, loss: float) -> float:
        loss = loss if math.isfinite(loss) or loss == -math.inf else math.inf
        self.seen[step] = loss
        return loss

    def _save_if_best(self) -> None:
        graded = self._graded
        if graded is None or (self._kept is not None and self._kept.loss <= graded.loss):
            return
        self._kept = replace(graded, gradient=vectors.clone(self._gradient()))


class GradientReader(Protocol):
    """Returns the local parts of the current gradient."""

    def __call__(self) -> Vector:
        """The gradient, one tensor a parameter."""
        ...


@dataclass(frozen=True)
class _Graded:
    step: float
    loss: float
    slope: float
    square: float  # of the gradient's norm
    gradient: Vector | None

    @property
    def numbers(self) -> tuple[float, float, float]:
        return self.loss, self.slope, math.sqrt(self.square)
