r"""Which convex-phase method ``second="auto"`` stands for, and why.

The rules, in their order; the measurement behind each is in the guide "Choosing a method" (``docs/choosing.md``):

1. What a dense matrix cannot serve (shards, several devices, several dtypes) gets L-BFGS.
2. A sum of squares in float64 of at most :data:`LEAST_SQUARES` parameters with at least :data:`SURPLUS` residuals a parameter,
   whose Jacobian can be made point by point at the price of at most :data:`JACOBIAN` gradients, gets Levenberg-Marquardt, if
   the budget pays for :data:`ITERATIONS` of its iterations. Normal equations square the condition, which float32 has no digits
   for, and take the time of many gradients where there are more parameters.
3. Up to :data:`DENSE` parameters get self-scaled Broyden, in float32 too: its matrix is kept as a product, so that rounding
   cannot make it indefinite.
4. Everything else gets L-BFGS.

Dense matrices are only chosen where they fit into :data:`SHARE` of the memory at hand. There is always a choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.cost import GRADIENT
from homestretch.descent import LBFGS, Descent, LevenbergMarquardt, SelfScaledBroyden
from homestretch.device_memory import available
from homestretch.directions.damped_solvers import expected_flops
from homestretch.directions.self_scaled_broyden import MAX_PARAMETERS
from homestretch.objective.base import Function, Residuals, describe
from homestretch.objective.products.jacobian import PER_POINT
from homestretch.objective.products.residuals import ResidualProducts

Factory = Callable[[list[Tensor]], Descent]

SURPLUS = 1.0
"""Residuals a parameter from which Levenberg-Marquardt is chosen."""
LEAST_SQUARES = 100
"""Parameters up to which it is: its price grows with their square for every residual, that of a gradient with their number."""
JACOBIAN = 8.0
"""Gradient-equivalents up to which a Jacobian is not too dear: every residual of a point takes a backward pass."""
ITERATIONS = 20
"""Iterations of Levenberg-Marquardt that a known budget must pay for."""
DENSE = MAX_PARAMETERS
"""Parameters up to which self-scaled Broyden is chosen."""
SHARE = 0.5
"""Share of the memory at hand that dense matrices may take."""

METHODS: dict[str, Factory] = {"LBFGS": LBFGS, "SelfScaledBroyden": SelfScaledBroyden, "LevenbergMarquardt": LevenbergMarquardt}
"""What may be chosen, by name."""


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it.

    Attributes:
        make: Builds the method over a list of parameters.
        name: The method's name.
        reason: One sentence.
        cost: What finding out cost, in gradient-equivalents, counted on the function's meter.
    """

    make: Factory
    name: str
    reason: str
    cost: float = 0.0


def choose(parameters: Sequence[Tensor], function: Function | None, left: float = math.inf) -> Choice:
    """The method for ``function`` of ``parameters``.

    Args:
        parameters: The trainable parameters.
        function: What is minimised; ``None`` where only closures are known, which offer gradients alone.
        left: Gradient-equivalents that may be spent, finding out included.
    """
    size = vectors.size(vectors.locals_of(parameters))
    obstacle = _no_dense_matrix(parameters)
    if obstacle:
        return _choice("LBFGS", f"{obstacle}; it needs gradients alone")
    before = function.meter.gradient_equivalents if function is not None else 0.0
    count, doubt = _residuals(function, size, parameters[0], left)
    cost = function.meter.gradient_equivalents - before if function is not None else 0.0
    if not doubt:
        reason = f"{count} residuals for {size} float64 parameters, their Jacobian made point by point"
        return _choice("LevenbergMarquardt", reason, cost)
    doubt = f"no Levenberg-Marquardt: {doubt}"
    if size > DENSE:
        return _choice("LBFGS", f"{size} parameters are more than the {DENSE} a dense matrix is kept for; {doubt}", cost)
    if _too_large(size * size * 3.0, parameters[0]):
        return _choice("LBFGS", f"a dense matrix of {size} parameters does not fit into the memory at hand; {doubt}", cost)
    return _choice("SelfScaledBroyden", f"{size} parameters, a dense matrix fits; {doubt}", cost)


def _choice(name: str, reason: str, cost: float = 0.0) -> Choice:
    reason += f"; finding out cost {cost:.2g} gradient-equivalents"
    return Choice(METHODS[name], name, reason, cost)


def _no_dense_matrix(parameters: Sequence[Tensor]) -> str:
    """Why no dense method is considered; empty if nothing is against it."""
    if vectors.shard_groups(parameters):
        return "the parameters are sharded"
    kinds = {(p.device, p.dtype) for p in parameters}
    if len(kinds) > 1:
        return "the parameters have several dtypes or lie on several devices"
    return ""


def _residuals(function: Function | None, size: int, like: Tensor, left: float) -> tuple[int, str]:
    """The number of residuals, and what speaks against Levenberg-Marquardt; cheap questions come first."""
    if function is None:
        return 0, "only closures are known"
    # Asked of the class, as asking the object would evaluate its properties.
    if not hasattr(type(function), "jacobian_chunks"):
        return 0, f"{describe(function)} offers no residuals"
    if like.dtype != torch.float64:
        return 0, f"its normal equations need float64, not {str(like.dtype).removeprefix('torch.')}"
    if size > LEAST_SQUARES:
        return 0, f"{size} parameters are more than {LEAST_SQUARES}"
    try:
        if not isinstance(function, Residuals):
            return 0, f"{describe(function)} offers no residuals"
        count = len(function.residuals())
        if count < SURPLUS * size:
            return count, f"{count} residuals are fewer than {SURPLUS:g} a parameter, so it would fit the points alone"
        # The Jacobian, a copy while its pieces are joined and one scaled; the normal equations and their factor.
        if _too_large(3.0 * size * (count + size), like):
            return count, f"a Jacobian of {count} by {size} does not fit into the memory at hand"
        find = getattr(function, "find_jacobian_mode", None)
        mode = find() if find is not None else PER_POINT
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        return 0, f"no Jacobian can be made ({(str(error).strip().splitlines() or [type(error).__name__])[0]})"
    if mode != PER_POINT:
        return count, f"its Jacobian takes a backward pass for each of its {mode}"
    return count, _too_dear(function, size, count, left)


def _too_dear(function: Function, size: int, count: int, left: float) -> str:
    """Why an iteration costs too much, at the prices that the function itself tells; empty if it does not."""
    if not isinstance(function, ResidualProducts):
        return ""
    jacobian = function.jacobian_price()
    if jacobian > JACOBIAN:
        return f"its Jacobian costs {jacobian:.3g} gradient-equivalents, more than {JACOBIAN:g}"
    price = GRADIENT + jacobian + expected_flops("auto", count, size) / function.flops_per_gradient
    if price * ITERATIONS > left:
        return f"an iteration costs {price:.3g} gradient-equivalents, and {left:.4g} are left: not enough for {ITERATIONS}"
    return ""


def _too_large(numbers: float, like: Tensor) -> bool:
    """Whether so many numbers like ``like`` take more than the allowed share of the memory at hand."""
    at_hand = available(like.device)
    return at_hand is not None and numbers * like.element_size() > SHARE * at_hand
