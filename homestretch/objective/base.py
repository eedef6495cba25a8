"""The contract between a function to minimise and everything that minimises it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from homestretch.cost import CostMeter


@runtime_checkable
class Function(Protocol):
    """A function of parameters that live elsewhere: a torch closure and more.

    Attributes:
        meter: Counts every evaluation at its fixed price.
        version: Changes whenever the function does (a subset has grown, points were redrawn).
    """

    meter: CostMeter
    version: int

    def __call__(self) -> Tensor:
        """The loss at the current parameters as a 0-d tensor; fills ``.grad``."""
        ...

    def loss(self) -> float:
        """The loss at the current parameters, by a forward pass only where the function can do without a backward."""
        ...


@runtime_checkable
class HessianProducts(Protocol):
    """A function that knows its Hessian by products.

    Vectors here and below have one tensor for each of ``parameters``, in that order.

    Attributes:
        parameters: The parameters of the function.
    """

    parameters: list[Tensor]

    def hessian_product(self, vector: list[Tensor]) -> list[Tensor]:
        """The Hessian at the current parameters times ``vector``, as a new vector."""
        ...


@runtime_checkable
class GaussNewtonProducts(Protocol):
    """A function that is a convex one of a network's outputs, or a sum of squares.

    Attributes:
        parameters: The parameters of the function.
    """

    parameters: list[Tensor]

    def gauss_newton_product(self, vector: list[Tensor]) -> list[Tensor]:
        """The Gauss-Newton matrix at the current parameters times ``vector``, as a new vector."""
        ...


@runtime_checkable
class Residuals(Protocol):
    r"""A sum of squares :math:`f(\theta) = \|\rho(\theta)\|^2`, with no half before it.

    Attributes:
        parameters: The parameters of the function.
        meter: Counts every evaluation.
        flops_per_gradient: Floating-point operations of one gradient, by which dense algebra is priced.
    """

    parameters: list[Tensor]
    meter: CostMeter
    flops_per_gradient: float

    def residuals(self) -> Tensor:
        r""":math:`\rho` at the current parameters, shape (N,), detached."""
        ...

    def jacobian_chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces of the residuals, shape (n,), with their rows of the Jacobian, shape (n, P), packed in order."""
        ...


def trainable(model: nn.Module | Sequence[Tensor]) -> list[Tensor]:
    """The trainable parameters of a module, or of a list of parameters.

    Raises:
        TypeError: If it is neither.
        ValueError: If there are none.
    """
    remedy = "model must be a module, or a list of the parameters themselves"
    if isinstance(model, Tensor):
        raise TypeError(f"{remedy}, got a tensor: give [tensor]")
    held = list(model.parameters() if isinstance(model, nn.Module) else model)
    for p in held:
        if not isinstance(p, Tensor):
            raise TypeError(f"{remedy}, got a {type(model).__name__} of {type(p).__name__}: give [parameter, ...]")
    parameters = [p for p in held if p.requires_grad]
    if not parameters:
        raise ValueError("model has no trainable parameters: set requires_grad on what is to be optimised")
    return parameters


def describe(value: Any) -> str:
    """A short name for a user's callable or object, for messages."""
    return getattr(value, "__qualname__", None) or type(value).__qualname__
