"""The contract between the one loop of the convex phase and the methods that propose directions."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch.distributed as dist
from torch import Tensor

from homestretch import vectors
from homestretch.objective.base import Function
from homestretch.vectors import Vector

_UNNOTICED = 1e-2  # changes below this times the rounding unit change nothing


@dataclass
class Point:
    """The current point, as a direction sees it.

    Attributes:
        parameters: Local parts of the parameters.
        gradient: Local parts of the gradient.
        loss: The loss.
        inverse_diagonal: Diagonal of the preconditioner's inverse, ``None`` for the identity.
        function: The function, for products (Hessian, Gauss-Newton, Jacobian) where it has them.
        groups: Process groups over which inner products are summed.
        left: What may still be spent, in gradient-equivalents.
    """

    parameters: Vector
    gradient: Vector
    loss: float
    inverse_diagonal: Vector | None
    function: Function
    groups: Sequence[dist.ProcessGroup] = ()
    left: float = math.inf

    def affordable(self, products: int, price: float) -> int:
        """How many of ``products`` at this price the budget allows, two evaluations for the search set aside."""
        return products if self.left == math.inf else max(min(products, int((self.left - 2.0) / price)), 0)

    def notices(self, step: Step) -> bool:
        """Whether a step of length 1 that was rejected is beyond the rounding of parameters and loss."""
        least = _UNNOTICED * vectors.working_eps(self.parameters[0].dtype)
        length, size = vectors.norm(step.direction, self.groups), vectors.norm(self.parameters, self.groups)
        return length > least * size and abs(step.slope_before) > least * abs(self.loss)

    def dots(self, *pairs: tuple[Sequence[Tensor], Sequence[Tensor]]) -> list[float]:
        """Inner products, all in one all-reduce."""
        return vectors.dots(pairs, self.groups)


@dataclass
class Proposal:
    """A direction to search along.

    Attributes:
        vector: The direction, one tensor a parameter. The loop does not change it.
        first_step: The step to try first.
        scaled: Whether the method knows its own step length, so that ``first_step`` is more than a guess.
        slope: Its inner product with the gradient.
        length: Its norm. The loop fills in both where the method leaves one out (NaN).
        predicted_decrease: For damped methods, the decrease that the method's model promises at step 1 (positive).
        restart: Why the method started afresh, empty if it did not.
        extra: Numbers for the record: ``beta``, ``damping``, ``radius``, ``inner_iterations``.
        unaffordable: Whether the budget does not pay for what the method would have proposed, so that this is a last attempt.
    """

    vector: Vector
    first_step: float
    scaled: bool = False
    slope: float = math.nan
    length: float = math.nan
    predicted_decrease: float | None = None
    restart: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    unaffordable: bool = False

    @property
    def damped(self) -> bool:
        """Whether the method has a model of the loss, and answers a rejection with a shorter step of its own."""
        return self.predicted_decrease is not None

    def predicted_at(self, length: float) -> float:
        r"""The decrease that the method's quadratic model promises at a step, NaN without a model.

        With slope s at 0 and the decrease p at step 1 it is :math:`a^2 (p + s) - a s` at step a.
        """
        if self.predicted_decrease is None or length == 1.0:
            return math.nan if self.predicted_decrease is None else self.predicted_decrease
        return length**2 * (self.predicted_decrease + self.slope) - length * self.slope


@dataclass
class Step:
    """What came of a proposal.

    Attributes:
        length: Accepted step along the direction; 0 if the proposal was rejected.
        direction: The direction.
        gradient_before: Gradient at the start. A method may overwrite it.
        gradient_after: Gradient at the new point.
        loss_before: Loss at the start.
        loss_after: Loss at the new point.
        slope_before: Directional derivative at the start.
        slope_after: Directional derivative at the new point.
        gradient_norm: Norm of the gradient at the new point, NaN if the proposal was rejected.
        gain_ratio: Actual over predicted decrease, NaN where none was predicted.
    """

    length: float
    direction: Vector
    gradient_before: Vector
    gradient_after: Vector
    loss_before: float
    loss_after: float
    slope_before: float
    slope_after: float
    gradient_norm: float = math.nan
    gain_ratio: float = math.nan


class Memory:
    """A method's state, held where torch's optimizers hold theirs.

    Vectors live in ``optimizer.state[parameter][name]``, scalars (floats, ints, strings, and lists of them) in a
    dictionary inside ``param_groups``, so that every way torch has to save an optimizer saves them.

    Args:
        parameters: The parameters (as the optimizer knows them).
        state: The optimizer's ``state``.
        scalars: The dictionary for scalars.
    """

    def __init__(
        self, parameters: Sequence[Tensor], state: MutableMapping[Tensor, dict[str, Any]], scalars: dict[str, Any]
    ) -> None:
        self.parameters = parameters
        self.scalars = scalars
        self._state = state

    def get(self, name: str) -> Vector | None:
        """The local parts of the vector stored under ``name``, one tensor a parameter, or ``None``."""
        found = [self._state[p].get(name) for p in self.parameters]
        return None if any(t is None for t in found) else [vectors.local(t) for t in found if t is not None]

    def need(self, name: str, make: Callable[[Tensor], Tensor]) -> Vector:
        """The vector stored under ``name``, made by ``make`` from each local parameter the first time."""
        if self.get(name) is None:
            self.set(name, [make(p) for p in vectors.locals_of(self.parameters)])
        return self.get(name) or []

    def set(self, name: str, vector: Sequence[Tensor]) -> None:
        """Store a vector of local tensors; beside sharded parameters they become sharded tensors too."""
        for p, t in zip(self.parameters, vector, strict=True):
            self._state[p][name] = vectors.sharded_like(t, p)

    def drop(self, name: str) -> None:
        """Forget a vector."""
        for p in self.parameters:
            self._state[p].pop(name, None)


class Direction(Protocol):
    """A method of the convex phase.

    The loop calls :meth:`bind` once, :meth:`propose` at every point, then :meth:`accept` or :meth:`reject`. All state
    that must survive a reload lives in the :class:`Memory` it was bound to.

    Attributes:
        name: Short name for records.

    A method may also have ``check(parameters)``, which refuses those that it cannot serve, and ``needs_residuals``, true where
    it works on sums of squares alone: both are asked when two phases are made, epochs before the method is needed.
    """

    name: str

    def bind(self, memory: Memory) -> None:
        """Take over the memory and allocate all state, so that a checkpoint can be loaded into it."""
        ...

    def flush(self) -> None:
        """Write to the memory what is kept elsewhere, as a checkpoint is about to be made."""
        ...

    def propose(self, point: Point) -> Proposal:
        """A direction at ``point``."""
        ...

    def accept(self, step: Step, point: Point) -> None:
        """The step was taken; ``point`` is the new point."""
        ...

    def reject(self, step: Step, point: Point) -> bool:
        """The proposal led nowhere; ``point`` is unchanged. Returns whether another :meth:`propose` is worth trying."""
        ...

    def renew(self, point: Point) -> str:
        """The function has changed: keep what still holds, and say what was kept, for the record."""
        ...

    def reset(self) -> None:
        """Forget everything learned, so that the next proposal is the (preconditioned) steepest descent."""
        ...
