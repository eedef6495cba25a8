"""The contract between a function to minimise and everything that minimises it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

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


def describe(value: Any) -> str:
    """A short name for a user's callable or object, for messages."""
    return getattr(value, "__qualname__", None) or type(value).__qualname__
