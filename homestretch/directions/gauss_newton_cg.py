r"""Gauss-Newton steps by truncated conjugate gradients, damped as Levenberg and Marquardt do.

.. math:: (G + \lambda I)\, \delta = -g

G is the Gauss-Newton matrix, positive semidefinite for losses that are convex in the network's outputs, known by products.
Damping, warm start and stopping rule follow J. Martens, "Deep learning via Hessian-free optimization", ICML 2010, sections
4.1 to 4.5; a search along the step may follow (his section 4.8).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from homestretch import arguments, vectors
from homestretch.cost import GAUSS_NEWTON_PRODUCT
from homestretch.directions.alignment import Operator, gauss_newton_operator, said
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.directions.linear_cg import CGOptions, CGResult, CGStatus, linear_cg
from homestretch.errors import UnsupportedError
from homestretch.objective.base import Function
from homestretch.preconditioners import apply
from homestretch.vectors import Vector

_GOOD, _POOR = 0.75, 0.25  # gain ratios beyond which the damping changes (Martens, section 4.1)
_LARGEST = 1e-3  # damping over the largest number of the dtype, beyond which products overflow


class GaussNewtonCGDirection:
    r"""Damped Gauss-Newton steps by products.

    Args:
        damping: First damping, relative to the curvature along the first gradient, :math:`g^T G g / g^T g`.
        factor: By how much the damping changes: down after a gain ratio above 3/4, up after one below 1/4.
        max_products: Products in one solve.
        tolerance: Relative residual at which a solve ends.
        progress: Martens' relative progress of the model at which it ends; 0 never.
        decay: The next solve starts from this times the last solution; 0 from zero.
        curvature_samples: Take G over this many of the samples, with an objective that has subsets; ``None`` for all.

    Raises:
        ValueError: If a number is out of range.
    """

    name = "gauss-newton-cg"

    def __init__(
        self,
        *,
        damping: float = 1e-2,
        factor: float = 2.0 / 3.0,
        max_products: int = 100,
        tolerance: float = 1e-8,
        progress: float = 5e-4,
        decay: float = 0.95,
        curvature_samples: int | None = None,
    ) -> None:
        if not damping > 0.0:
            raise ValueError(f"damping must be positive, got {damping}")
        for name, value in (("factor", factor), ("decay", decay)):
            if not 0.0 <= value < 1.0 or (name == "factor" and value == 0.0):
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        self._options = CGOptions(
            max_iterations=arguments.count("max_products", max_products), tolerance=tolerance, progress=progress
        )
        self._first_damping = damping
        self._factor = factor
        self._decay = decay
        self._samples = None if curvature_samples is None else arguments.count("curvature_samples", curvature_samples)

    def bind(self, memory: Memory) -> None:
        """Allocate the last solution, from which the next solve starts."""
        self._memory = memory
        self._solution = memory.need("solution", lambda p: p.clone().zero_())
        memory.scalars.setdefault("damping", 0.0)
        memory.scalars.setdefault("largest", 0.0)
        self._subset: tuple[Function, int, Function] | None = None

    def flush(self) -> None:
        """All scalars are in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """Solve for the step at the present damping."""
        function = self._curvature_function(point.function)
        operator = gauss_newton_operator(function, self._memory.parameters, "GaussNewtonCG")
        share = 1.0 if function is point.function else function.samples / point.function.samples  # type: ignore[attr-defined]
        products = point.affordable(self._options.max_iterations + 1, share * GAUSS_NEWTON_PRODUCT) - 1  # one for the damping
        if products < 1:
            z = apply(point.inverse_diagonal, point.gradient)
            proposal = self._steepest(z, initial_step(point, z), "the budget allows no Gauss-Newton product")
            return replace(proposal, unaffordable=True)
        damping = self._damping(operator, point)
        result = self._solve(operator, damping, point, products)
        vectors.copy_(self._solution, result.solution)
        slope, squared = point.dots((point.gradient, result.solution), (result.solution, result.solution))
        if not slope < 0.0:
            # the first product showed negative curvature: the loss is not convex in the outputs here
            z = apply(point.inverse_diagonal, point.gradient)
            return self._steepest(z, 1.0 / (damping + float(self._memory.scalars["largest"])), "negative curvature at once")
        # The solver's model holds the damping; the gain ratio is that of the undamped one, m(a) = a slope + a^2 bend / 2.
        self._bend = 2.0 * (result.model - slope) - damping * squared
        predicted = -slope - 0.5 * self._bend
        extra = {"damping": damping, "inner_iterations": float(result.iterations), **said(function, "gauss_newton")}
        if result.status is CGStatus.NEGATIVE_CURVATURE:
            extra["negative_curvature"] = 1.0
        return Proposal(result.solution, 1.0, scaled=True, slope=slope, predicted_decrease=predicted, extra=extra)

    def accept(self, step: Step, point: Point) -> None:
        """Adapt the damping to the gain ratio at the length that the search took."""
        predicted = -step.length * step.slope_before - 0.5 * step.length**2 * self._bend
        gain = (step.loss_before - step.loss_after) / predicted if predicted > 0.0 else 0.0
        if gain > _GOOD:
            self._scale_damping(self._factor)
        elif gain < _POOR:
            self._scale_damping(1.0 / self._factor)

    def reject(self, step: Step, point: Point) -> bool:
        """Much more damping; no more proposals once they would change nothing."""
        self._scale_damping(1.0 / self._factor**4)
        if float(self._memory.scalars["damping"]) > _LARGEST * torch.finfo(point.gradient[0].dtype).max:
            return False
        return point.notices(step)

    def renew(self, point: Point) -> str:
        """Damping and last solution still fit a function that has changed a little."""
        return "damping and last solution are kept"

    def reset(self) -> None:
        """Forget damping and last solution."""
        self._memory.scalars.update(damping=0.0, largest=0.0)
        for t in self._solution:
            t.zero_()

    def _steepest(self, z: Vector, first_step: float, why: str) -> Proposal:
        self._bend = 0.0
        return Proposal(vectors.negative(z), first_step, restart=why)

    def _solve(self, operator: Operator, damping: float, point: Point, products: int) -> CGResult:
        def damped(vector: Vector) -> Vector:
            product = operator(vector)
            vectors.add_(product, vector, damping)
            return product

        start = None
        if self._decay > 0.0 and any(bool(t.any()) for t in self._solution):
            start = vectors.clone(self._solution)
            vectors.scale_(start, self._decay)
        return linear_cg(
            damped, vectors.negative(point.gradient), point.dots, replace(self._options, max_iterations=products),
            precondition=lambda v: apply(point.inverse_diagonal, v), start=start,
        )  # fmt: skip

    def _damping(self, operator: Operator, point: Point) -> float:
        """The damping, at first relative to the curvature along the gradient, never below what rounding in products hides."""
        scalars = self._memory.scalars
        if not float(scalars["damping"]) > 0.0:
            (squared,) = point.dots((point.gradient, point.gradient))
            unit = vectors.clone(point.gradient)
            vectors.scale_(unit, 1.0 / math.sqrt(squared) if squared > 0.0 else 0.0)
            along = abs(point.dots((unit, operator(unit)))[0])  # of length 1, for the gradient's square may leave the range
            scalars["largest"] = along if along > 0.0 and math.isfinite(along) else 1.0
            scalars["damping"] = self._first_damping * float(scalars["largest"])
        floor = vectors.working_eps(point.parameters[0].dtype) * float(scalars["largest"])
        scalars["damping"] = max(float(scalars["damping"]), floor)
        return float(scalars["damping"])

    def _scale_damping(self, factor: float) -> None:
        self._memory.scalars["damping"] = float(self._memory.scalars["damping"]) * factor

    def _curvature_function(self, function: Function) -> Function:
        """The function itself, or its subset, made once a version."""
        if self._samples is None:
            return function
        known = self._subset
        if known is None or known[0] is not function or known[1] != function.version:
            subset = getattr(function, "subset", None)
            if subset is None:
                raise UnsupportedError(
                    f"curvature_samples needs a function with subsets, and {type(function).__name__} has none: leave it out"
                )
            known = self._subset = (function, function.version, subset(min(self._samples, function.samples)))  # type: ignore[attr-defined]
        return known[2]
