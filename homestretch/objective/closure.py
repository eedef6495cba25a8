"""Any torch closure as a function to minimise, at full price for every trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from homestretch.cost import CostMeter
from homestretch.objective.base import describe


class ClosureFunction:
    """Wraps ``closure() -> loss``, which computes the loss and calls ``backward``, as torch's optimizers ask for.

    Gradients left over from earlier calls are dropped first, so closures that zero gradients and closures that keep
    them both give the gradient at the current parameters. A forward pass alone cannot be asked of a closure, so
    :meth:`loss` costs as much as a gradient.

    Args:
        closure: The user's closure.
        parameters: The parameters whose ``.grad`` it fills.
        meter: Where evaluations are counted; a new one if not given.

    Attributes:
        cheap_loss: No: the loss alone costs as much as the gradient, and overwrites it.
    """

    cheap_loss = False

    def __init__(self, closure: Callable[[], Any], parameters: Sequence[Tensor], meter: CostMeter | None = None) -> None:
        self.closure = closure
        self.meter = meter or CostMeter()
        self.version = 0
        self.parameters = parameters

    def __call__(self) -> Tensor:
        """The closure's loss; ``.grad`` is filled.

        Raises:
            TypeError: If the closure returns nothing that can be read as one number.
        """
        for p in self.parameters:
            p.grad = None
        counted = self.meter.gradient_equivalents
        with torch.enable_grad():
            loss = self.closure()
        if self.meter.gradient_equivalents == counted:  # a closure around an objective has its evaluation counted by that
            self.meter.count_gradient()
        if isinstance(loss, Tensor) and loss.numel() == 1:
            return loss.detach().reshape(())
        if isinstance(loss, (int, float)):
            return torch.tensor(float(loss), dtype=torch.float64)
        raise TypeError(
            f"closure {describe(self.closure)} must return its loss as one number, got {type(loss).__name__}: "
            "end it with `return loss`"
        )

    def loss(self) -> float:
        """The closure's loss, at the price of a gradient."""
        return float(self())
