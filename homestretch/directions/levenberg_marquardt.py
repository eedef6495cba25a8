r"""Levenberg-Marquardt with dense algebra, for sums of squares :math:`f = \|\rho\|^2`.

.. math:: (J^T J + \lambda D^2)\, \delta = -J^T \rho

The damping follows the gain ratio, the actual decrease over that of the model :math:`\|\rho + J \delta\|^2` (K. Levenberg,
1944; D. Marquardt, 1963; J. More, 1978; H. Nielsen, "Damping parameter in Marquardt's method", 1999). A rejected step costs one
evaluation of the loss and one small factorisation: the Jacobian is made once a point.

Geodesic acceleration adds half the step's second-order correction :math:`-(J^T J + \lambda D^2)^{-1} J^T \rho''`, with
:math:`\rho''` the second derivative along the step (M. Transtrum, J. Sethna, 2012, arXiv:1201.5885).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.cost import FORWARD
from homestretch.directions.alignment import Order, residuals_of, said
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.directions.damped_solvers import DampedSolver, Piece, expected_flops, make_solver
from homestretch.errors import NonFiniteError
from homestretch.objective.base import Residuals
from homestretch.objective.products.residuals import ResidualProducts
from homestretch.objective.products.swapping import moved
from homestretch.preconditioners import apply
from homestretch.vectors import Vector

SOLVERS = ("auto", "qr", "normal", "dual")
SCALES = ("identity", "columns")

_GEODESIC_STEP = 0.1  # of the step, for second differences of the residuals (Transtrum and Sethna, section 3)


class LevenbergMarquardtDirection:
    r"""Damped Gauss-Newton steps by dense factorisations.

    Args:
        damping: First damping, relative to the largest squared column norm of J :math:`D^{-1}`.
        solver: ``"qr"``, ``"normal"`` or ``"dual"`` (see :mod:`homestretch.directions.damped_solvers`); ``"auto"`` takes the
            dual with fewer residuals than parameters, else the normal equations.
        scale: D: ``"columns"`` for the largest norms that J's columns have had (More), which makes the method blind to the
            parameters' units, or ``"identity"``.
        shrink: The damping is multiplied by at least this after a good step.
        geodesic: Add the second-order correction, at the price of two evaluations of the residuals a proposal and of keeping
            the Jacobian.
        geodesic_limit: It is left out where twice its length exceeds this times the step's.

    Raises:
        ValueError: If a name is unknown or a number is out of range.
    """

    name = "levenberg-marquardt"
    needs_residuals = True

    def __init__(
        self,
        *,
        damping: float = 1e-3,
        solver: str = "auto",
        scale: str = "columns",
        shrink: float = 0.2,
        geodesic: bool = True,
        geodesic_limit: float = 0.75,
    ) -> None:
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
        if not 0.0 < shrink < 1.0:
            raise ValueError(f"shrink must lie between 0 and 1, got {shrink}")
        for name, value in (("damping", damping), ("geodesic_limit", geodesic_limit)):
            if not value > 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        self._first_damping = damping
        self._solver_name = solver
        self._scale_name = scale
        self._shrink = shrink
        self._geodesic_limit = geodesic_limit if geodesic else 0.0

    def bind(self, memory: Memory) -> None:
        """Allocate D."""
        self._memory = memory
        self._diagonal = memory.need("scale", torch.zeros_like)
        memory.scalars.setdefault("damping", 0.0)
        memory.scalars.setdefault("growth", 2.0)
        self._model: _Model | None = None

    def flush(self) -> None:
        """All scalars are in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """The damped step at the present damping; the Jacobian is made at the first proposal at a point."""
        if self._model is None:
            if math.isfinite(point.left) and self._price(point) > point.left - 2.0:  # evaluations that the search may need
                z = apply(point.inverse_diagonal, point.gradient)
                restart = "the budget allows no Jacobian"
                return Proposal(vectors.negative(z), initial_step(point, z), restart=restart, unaffordable=True)
            self._model = self._linearise(point)
        model, scalars = self._model, self._memory.scalars
        scalars["damping"] = damping = model.factor(float(scalars["damping"]))
        delta, pushed = model.solver.step()
        predicted = pushed + 2.0 * damping * float((model.scale * delta).square().sum())
        extra = {"damping": damping, **said(point.function, "jacobian")}
        if self._geodesic_limit:
            delta, extra["acceleration"] = model.bend(delta, self._geodesic_limit)
        model.count()
        return Proposal(model.vector(delta), 1.0, scaled=True, predicted_decrease=predicted, extra=extra)

    def accept(self, step: Step, point: Point) -> None:
        """Nielsen's smooth rule, with a limit of our own on how fast the damping falls."""
        if math.isnan(step.gain_ratio):
            return  # the steepest descent's, which has no model
        scalars = self._memory.scalars
        factor = max(self._shrink, 1.0 - (2.0 * step.gain_ratio - 1.0) ** 3) if step.gain_ratio < 1.0 else self._shrink
        scalars["damping"] = float(scalars["damping"]) * min(factor, 2.0)
        scalars["growth"] = 2.0
        self._model = None

    def reject(self, step: Step, point: Point) -> bool:
        """More damping, faster with every rejection; no more proposals once they would change nothing."""
        scalars = self._memory.scalars
        scalars["damping"] = float(scalars["damping"]) * float(scalars["growth"])
        scalars["growth"] = float(scalars["growth"]) * 2.0
        return point.notices(step)

    def renew(self, point: Point) -> str:
        """The damping still fits a function that has changed a little; the Jacobian is made anew."""
        self._model = None
        return "the damping is kept, the Jacobian is made anew"

    def reset(self) -> None:
        """Start afresh with the first damping."""
        self._model = None
        self._memory.scalars.update(damping=0.0, growth=2.0)
        for t in self._diagonal:
            t.zero_()

    def _price(self, point: Point) -> float:
        """What linearising at a point and one proposal will cost, in gradient-equivalents; 0 where it is not known."""
        function = residuals_of(point.function, "LevenbergMarquardt")
        if not isinstance(function, ResidualProducts):
            return 0.0
        algebra = expected_flops(self._solver_name, function.residual_count, vectors.size(function.parameters))
        bend = 2.0 * FORWARD if self._geodesic_limit else 0.0
        return function.jacobian_price() + algebra / function.flops_per_gradient + bend

    def _linearise(self, point: Point) -> _Model:
        function = residuals_of(point.function, "LevenbergMarquardt")
        order = Order(function.parameters, self._memory.parameters)
        solver, whole = make_solver(function.jacobian_chunks(), self._solver_name, keep=self._geodesic_limit > 0.0)
        model = _Model(function, order, solver, whole, self._scaled(order, solver.columns))
        if not float(self._memory.scalars["damping"]) > 0.0:
            self._memory.scalars["damping"] = self._first_damping * model.largest
        return model

    def _scaled(self, order: Order, columns: Tensor) -> Tensor:
        """D, packed in the function's order: never smaller than it was (More, 1978, equation 6.3)."""
        if self._scale_name == "identity":
            return torch.ones_like(columns)
        known = vectors.pack(order.to_function(self._diagonal))
        scale = torch.maximum(known, columns.sqrt())
        # A parameter that the residuals do not feel has a zero column; it must not make D singular.
        scale = scale.clamp_min(vectors.working_eps(scale.dtype) * (float(scale.max()) or 1.0))
        vectors.copy_(self._diagonal, order.to_optimizer(vectors.unpack(scale, order.to_function(self._diagonal))))
        return scale


class _Model:
    """The residuals linearised at a point, with D; packed vectors are in the function's order."""

    def __init__(self, function: Residuals, order: Order, solver: DampedSolver, whole: Piece | None, scale: Tensor) -> None:
        self.solver = solver
        self.scale = scale
        self.largest = float((solver.columns / scale.square()).max()) or 1.0
        self._function = function
        self._order = order
        self._whole = whole
        self._counted = 0.0

    def factor(self, damping: float) -> float:
        """Prepare the solver; returns the damping, raised to what rounding asks for."""
        damping = max(damping, self.solver.floor * self.largest)
        while not self.solver.factor(damping, self.scale):
            damping *= 10.0
            if not math.isfinite(damping):
                raise NonFiniteError(
                    f"the normal equations overflow or are not finite in {self.scale.dtype}, whatever the damping (largest "
                    f"scaled diagonal {self.largest:.3g}): bring the residuals to a smaller scale or use float64"
                )
        return damping

    def vector(self, packed: Tensor) -> Vector:
        """A packed vector as a list in the optimizer's order."""
        return self._order.to_optimizer(vectors.unpack(packed, self._function.parameters))

    def bend(self, delta: Tensor, limit: float) -> tuple[Tensor, float]:
        """The step with its second-order correction, if that is short enough, and the ratio of the two lengths."""
        assert self._whole is not None
        middle, jacobian = self._whole
        direction = vectors.unpack(delta, self._function.parameters)
        sides = []
        for sign in (1.0, -1.0):
            with moved(self._function.parameters, direction, sign * _GEODESIC_STEP):
                sides.append(self._function.residuals())
        second = (sides[0] + sides[1] - 2.0 * middle) / _GEODESIC_STEP**2
        correction = self.solver.correct(jacobian.T @ second).mul_(-0.5)
        ratio = 2.0 * float((self.scale * correction).norm()) / max(float((self.scale * delta).norm()), 1e-300)
        return (delta + correction if ratio <= limit else delta), ratio

    def count(self) -> None:
        """Price the dense algebra since the last call."""
        self._function.meter.count_flops(self.solver.flops - self._counted, self._function.flops_per_gradient)
        self._counted = self.solver.flops
