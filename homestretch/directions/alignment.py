"""The products of a function, in the order of the optimizer's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from homestretch.errors import UnsupportedError
from homestretch.objective.base import Function, GaussNewtonProducts, HessianProducts, Residuals, describe
from homestretch.objective.penalty import Penalized
from homestretch.vectors import Vector

Operator = Callable[[Vector], Vector]


def hessian_operator(function: Function, parameters: Sequence[Tensor], method: str) -> Operator:
    """Hessian products of ``function`` on vectors with one tensor for each of ``parameters``.

    Raises:
        UnsupportedError: If the function has none, or other parameters.
    """
    if not isinstance(function, HessianProducts):
        raise UnsupportedError(
            f"{method} needs Hessian products, which {describe(function)} does not offer: hand an Objective or a LeastSquares "
            "to step() instead of a closure, or use LBFGS"
        )
    return _reordered(function.hessian_product, Order(function.parameters, parameters))


def gauss_newton_operator(function: Function, parameters: Sequence[Tensor], method: str) -> Operator:
    """Gauss-Newton products of ``function`` on vectors with one tensor for each of ``parameters``.

    Raises:
        UnsupportedError: If the function has none, or other parameters.
    """
    if not isinstance(function, GaussNewtonProducts):
        raise UnsupportedError(
            f"{method} needs Gauss-Newton products, which {describe(function)} does not offer: hand an Objective or a "
            "LeastSquares to step() instead of a closure, or use LBFGS"
        )
    return _reordered(function.gauss_newton_product, Order(function.parameters, parameters))


def residuals_of(function: Function, method: str) -> Residuals:
    """The function as a sum of squares.

    Raises:
        UnsupportedError: If it is not known as one.
    """
    if isinstance(function, Penalized) and isinstance(function.function, Residuals):
        raise UnsupportedError(
            f"{method} needs a loss that is all residuals, and the weight decay of `first`, which both phases minimise with "
            "it, is none: make `first` with weight_decay=0, or use GaussNewtonCG or LBFGS"
        )
    if not isinstance(function, Residuals):
        raise UnsupportedError(
            f"{method} needs residuals and their Jacobian, which {describe(function)} does not offer: hand a LeastSquares "
            "over, for pairs LeastSquares(lambda model, p: model(p[0]) - p[1], model, (inputs, targets)), or use GaussNewtonCG "
            "or LBFGS"
        )
    return function


def said(function: Function, what: str) -> dict[str, float]:
    """How the function makes its products or Jacobians, as an entry of the record: ``{"hessian: forward-over-reverse": 1.0}``.

    Args:
        function: The function.
        what: ``"hessian"``, ``"gauss_newton"`` or ``"jacobian"``.

    Returns:
        One entry, or none where the function does not say or has not chosen yet.
    """
    mode = getattr(function, f"{what}_mode", "")
    return {f"{what}: {mode}": 1.0} if mode else {}


class Order:
    """Carries vectors between a function's order of parameters and the optimizer's.

    Raises:
        UnsupportedError: If one has parameters that the other lacks.
    """

    def __init__(self, function: Sequence[Tensor], optimizer: Sequence[Tensor]) -> None:
        places = {id(p): i for i, p in enumerate(optimizer)}
        if len(function) != len(optimizer) or any(id(p) not in places for p in function):
            raise UnsupportedError(
                f"the optimizer has {len(optimizer)} trainable parameters and the function {len(function)}, not all of them "
                "the same: set requires_grad=False on those that are not to be optimised, before the objective is made"
            )
        self._places = [places[id(p)] for p in function]
        self._same = self._places == list(range(len(function)))

    def to_function(self, vector: Vector) -> Vector:
        """A vector in the optimizer's order, in the function's."""
        return vector if self._same else [vector[i] for i in self._places]

    def to_optimizer(self, vector: Vector) -> Vector:
        """A vector in the function's order, in the optimizer's."""
        if self._same:
            return vector
        result = list(vector)
        for t, i in zip(vector, self._places, strict=True):
            result[i] = t
        return result


def _reordered(product: Operator, order: Order) -> Operator:
    return lambda vector: order.to_optimizer(product(order.to_function(vector)))
