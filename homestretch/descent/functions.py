"""What a user hands to ``step``, as a function to minimise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor

from homestretch import vectors
from homestretch.objective.base import Function, HessianProducts
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.dataset import Objective
from homestretch.objective.least_squares import LeastSquares
from homestretch.objective.living import Wrapped


class Functions:
    """Turns closures into functions, and turns functions around where they are to be maximised.

    Args:
        maximize: Whether to turn them around.

    Attributes:
        known: The function of the latest call, if it was more than a closure.
        cheap_loss: Whether its loss alone costs less than with the gradient.
        another: Whether an objective has come in the place of another one since this was last made false; closures are often
            made anew for every step and say nothing.
    """

    def __init__(self, *, maximize: bool) -> None:
        self._maximize = maximize
        self._closure: ClosureFunction | None = None
        self.known: Function | None = None  # telling what a closure is takes longer than it should in every iteration
        self.cheap_loss = False
        self.another = False
        self._objective: Objective | LeastSquares | None = None

    def of(self, closure: Callable[[], Any], parameters: list[Tensor]) -> Function:
        """The closure as a function with a meter; ours are used as they are.

        Raises:
            TypeError: If it cannot be called.
        """
        if closure is self.known or isinstance(closure, Function):
            if closure is not self.known:
                self._note(closure)
            self.known = closure
            # A closure inside another function still has no forward pass of its own.
            self.cheap_loss = bool(getattr(closure, "cheap_loss", True))
            function: Function = closure
        else:
            if not callable(closure):
                raise TypeError(f"closure must be callable, got {type(closure).__name__}")
            if self._closure is None:
                self._closure = ClosureFunction(closure, parameters)
            self._closure.closure = closure
            self._closure.parameters = parameters
            self.cheap_loss = False
            function = self._closure
        if not self._maximize:
            return function
        turned = NegatedWithProducts if isinstance(function, HessianProducts) else Negated
        return cast(Function, turned(function, parameters))

    def _note(self, function: Any) -> None:
        """Notice another objective, whatever it is wrapped in."""
        while isinstance(function, Wrapped):
            function = function.function
        if isinstance(function, (Objective, LeastSquares)):
            self.another |= self._objective is not None and function is not self._objective
            self._objective = function


class Negated(Wrapped):
    """A function to maximise, as one to minimise.

    Args:
        function: The function.
        parameters: The parameters whose ``.grad`` it fills.
    """

    def __init__(self, function: Function, parameters: Sequence[Tensor]) -> None:
        self.function = function
        self._parameters = parameters
        self.meter = function.meter

    @property
    def version(self) -> int:
        """The version of the function inside."""
        return self.function.version

    def __call__(self) -> Tensor:
        """The negative loss; fills ``.grad`` with its gradient."""
        loss = self.function()
        for p in self._parameters:
            if p.grad is not None:
                p.grad.neg_()
        return -loss

    def loss(self) -> float:
        """The negative loss."""
        return -self.function.loss()

    def inner_loss(self, loss: float) -> float:
        """The loss of the function inside."""
        return -loss


class NegatedWithProducts(Negated):
    """Likewise, of a function that knows its Hessian by products.

    Its Gauss-Newton matrix and its residuals are left out: the negative of a sum of squares is none.

    Args:
        function: The function.
        parameters: The parameters whose ``.grad`` it fills.
    """

    def __init__(self, function: Any, parameters: Sequence[Tensor]) -> None:
        super().__init__(function, parameters)
        self.parameters: list[Tensor] = function.parameters
        self._product: Callable[[list[Tensor]], list[Tensor]] = function.hessian_product

    def hessian_product(self, vector: list[Tensor]) -> list[Tensor]:
        """The Hessian of the negative function times ``vector``."""
        return vectors.negative(self._product(vector))
