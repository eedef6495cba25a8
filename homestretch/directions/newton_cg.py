r"""Truncated Newton steps by conjugate gradients: :math:`(H + \mu I)\, d = -g`, solved only as well as it pays.

Sources: R. Dembo, T. Steihaug, "Truncated-Newton algorithms for large-scale unconstrained optimization", Math. Prog. 26 (1983);
T. Steihaug, "The conjugate gradient method and trust regions in large scale optimization", SIAM J. Numer. Anal. 20 (1983); S.
Eisenstat, H. Walker, "Choosing the forcing terms in an inexact Newton method", SIAM J. Sci. Comput. 17 (1996), choice 2; J.
Nocedal, S. Wright, "Numerical Optimization" (2006), algorithms 4.1, 7.1 and 7.2; damped and preconditioned as by Rathore et
al. (2024), see :mod:`homestretch.directions.nystrom`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

from torch import Tensor

from homestretch import arguments, vectors
from homestretch.cost import HESSIAN_PRODUCT
from homestretch.directions.alignment import Operator, hessian_operator, said
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.directions.gradient_differences import GradientDifferences
from homestretch.directions.linear_cg import CGOptions, CGResult, CGStatus, linear_cg
from homestretch.directions.nystrom import NystromPreconditioner
from homestretch.errors import UnsupportedError
from homestretch.objective.base import HessianProducts
from homestretch.preconditioners import apply
from homestretch.vectors import Vector

_LOOSEST = 0.5  # the first forcing term, and the largest
_GAMMA, _ALPHA = 0.9, 2.0  # Eisenstat and Walker's choice 2
_MATTERS = 0.1  # the last forcing term limits the next one only while its image is above this (their safeguard)
_GOOD, _POOR = 0.75, 0.25  # gain ratios beyond which the radius changes (Nocedal and Wright, algorithm 4.1)
_ANY = 1 << 30  # products


class NewtonCGDirection:
    r"""Newton steps from Hessian products, with a line search or within a trust region.

    Products come from the function where it offers them, else from differences of its gradients. Where the Hessian is
    indefinite, the solve ends at the first direction of negative curvature: within a trust region it is followed to the
    border; otherwise the step reached so far is taken, or that direction itself (:attr:`follow`).

    Args:
        max_products: Products in one solve.
        damping: :math:`\mu`.
        trust_radius: First radius of a trust region in the preconditioner's norm :math:`\langle d, M d \rangle^{1/2}`; ``None``
            for none, which a line search then replaces.
        follow: Take the direction of negative curvature in place of the step reached before it was met. It is always taken
            when it is met at once, as it is the preconditioned gradient then.
        nystrom: A preconditioner made of Hessian products, in place of the diagonal one; ``None`` for none.

    Raises:
        TypeError: If ``nystrom`` is no such preconditioner.
        ValueError: If a number is out of range.
    """

    name = "newton-cg"

    def __init__(
        self,
        *,
        max_products: int = 200,
        damping: float = 0.0,
        trust_radius: float | None = None,
        follow: bool = True,
        nystrom: NystromPreconditioner | None = None,
    ) -> None:
        if not 0.0 <= damping < math.inf:
            raise ValueError(f"damping must be finite and not negative, got {damping}")
        if trust_radius is not None and not 0.0 < trust_radius < math.inf:
            raise ValueError(f"trust_radius must be finite and positive, or None for a line search, got {trust_radius}")
        if nystrom is not None and not isinstance(nystrom, NystromPreconditioner):
            raise TypeError(f"nystrom must be a NystromPreconditioner(), or None for none, got {nystrom!r}")
        self._max_products = arguments.count("max_products", max_products)
        self._damping = damping
        self._first_radius = trust_radius
        self._follow = follow
        self._nystrom = None if nystrom is None else copy(nystrom)  # its state is this method's own

    def check(self, parameters: Sequence[Tensor]) -> None:
        """Refuse parameters that the low-rank preconditioner cannot serve.

        Raises:
            UnsupportedError: If they are sharded.
        """
        if self._nystrom is not None and vectors.shard_groups(parameters):
            raise UnsupportedError("nystrom is a dense preconditioner and cannot work on sharded parameters: leave it out")

    def bind(self, memory: Memory) -> None:
        """Nothing but numbers is kept, and the low-rank preconditioner."""
        self.check(memory.parameters)
        self._memory = memory
        memory.scalars.setdefault("forcing", _LOOSEST)
        memory.scalars.setdefault("radius", self._first_radius or math.inf)
        memory.scalars.setdefault("steepest", False)
        self._reach = math.inf  # of the last proposal, in the preconditioner's norm
        if self._nystrom is not None:
            self._nystrom.bind(memory)

    def flush(self) -> None:
        """All numbers are in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """Solve for the step; the preconditioned steepest descent where the last one led nowhere."""
        if self._memory.scalars["steepest"]:
            return self._steepest(point, "no step along Newton's direction was found")
        self._reach = math.inf
        operator, extra = self._operator(point), dict[str, float]()
        if not point.affordable(1, HESSIAN_PRODUCT):
            return self._steepest(point, "the budget allows no Hessian product", unaffordable=True)
        if self._nystrom is not None and self._nystrom.due and self._nystrom.rank < point.affordable(_ANY, HESSIAN_PRODUCT):
            made = self._nystrom.refresh(operator, point.parameters)
            extra["sketch_products"] = float(made)
            point.left -= made * HESSIAN_PRODUCT
        products = max(point.affordable(self._max_products, HESSIAN_PRODUCT), 1)
        result = self._solve(operator, point, products)
        known = isinstance(point.function, HessianProducts)
        extra.update(said(point.function, "hessian") if known else {"hessian: gradient differences": 1.0})
        extra["inner_iterations"] = float(result.iterations)
        if result.status is CGStatus.NEGATIVE_CURVATURE:
            extra["negative_curvature"] = 1.0
        (length,) = point.dots((result.solution, result.solution))
        if self._first_radius is not None and length > 0.0:
            self._on_border = result.status in (CGStatus.NEGATIVE_CURVATURE, CGStatus.BOUNDARY)
            self._reach = result.reach
            # the solver's model holds the damping, the decrease of the loss does not
            predicted = 0.5 * self._damping * length - result.model
            return Proposal(result.solution, 1.0, scaled=True, predicted_decrease=predicted, extra=extra)
        self._on_border = False
        return self._for_search(result, length, point, extra)

    def accept(self, step: Step, point: Point) -> None:
        """Choose the next forcing term, and the next radius by the gain ratio."""
        scalars = self._memory.scalars
        scalars["steepest"] = False
        before, after = point.dots((step.gradient_before, step.gradient_before), (step.gradient_after, step.gradient_after))
        scalars["forcing"] = next_forcing(float(scalars["forcing"]), math.sqrt(before), math.sqrt(after))
        if self._nystrom is not None:
            self._nystrom.older()
        if self._first_radius is None:
            return
        if step.gain_ratio > _GOOD and self._on_border:
            scalars["radius"] = 2.0 * float(scalars["radius"])
        elif step.gain_ratio < _POOR:  # that of the steepest descent, which has no model, is not known
            scalars["radius"] = 0.25 * float(scalars["radius"])

    def reject(self, step: Step, point: Point) -> bool:
        """A quarter of the radius, while that still changes anything; after a line search, the steepest descent, once."""
        scalars = self._memory.scalars
        if self._first_radius is None:
            tried = bool(scalars["steepest"])
            scalars["steepest"] = not tried
            return not tried
        scalars["radius"] = 0.25 * min(float(scalars["radius"]), self._reach)  # a longer radius would give the same step
        return point.notices(step)

    def renew(self, point: Point) -> str:
        """The low-rank preconditioner is of another function: make it anew."""
        if self._nystrom is None:
            return "the radius is kept"
        self._nystrom.expire()
        return "the radius is kept, the preconditioner is made anew"

    def reset(self) -> None:
        """Forget forcing term, radius and preconditioner."""
        self._memory.scalars.update(forcing=_LOOSEST, radius=self._first_radius or math.inf, steepest=False)
        if self._nystrom is not None:
            self._nystrom.expire()

    def _operator(self, point: Point) -> Operator:
        """Hessian products of the function, or by differences of its gradients."""
        parameters = self._memory.parameters
        if isinstance(point.function, HessianProducts):
            return hessian_operator(point.function, parameters, "NewtonCG")
        return GradientDifferences(point, parameters)

    def _solve(self, operator: Operator, point: Point, products: int) -> CGResult:
        def damped(vector: Vector) -> Vector:
            product = operator(vector)
            if self._damping > 0.0:
                vectors.add_(product, vector, self._damping)
            return product

        def precondition(vector: Vector) -> Vector:
            if self._nystrom is not None:
                return self._nystrom.apply(vector, self._damping)
            return apply(point.inverse_diagonal, vector)

        scalars = self._memory.scalars
        options = CGOptions(products, tolerance=float(scalars["forcing"]), radius=float(scalars["radius"]))
        return linear_cg(damped, vectors.negative(point.gradient), point.dots, options, precondition=precondition)

    def _for_search(self, result: CGResult, length: float, point: Point, extra: dict[str, float]) -> Proposal:
        """The solution, of squared norm ``length``, or what to take where there is none."""
        negative = result.negative_direction
        if negative is not None and (self._follow or length == 0.0):
            # Its own length means nothing: try one like that of the step so far.
            (size,) = point.dots((negative, negative))
            first = math.sqrt(length / size) if length > 0.0 else initial_step(point, negative)
            return Proposal(negative, first, extra=extra)
        if length == 0.0:
            return self._steepest(point, "no product was finite")
        return Proposal(result.solution, 1.0, scaled=True, extra=extra)

    def _steepest(self, point: Point, why: str, *, unaffordable: bool = False) -> Proposal:
        """The preconditioned steepest descent, within the trust region if there is one."""
        scalars = self._memory.scalars
        scalars["steepest"] = True  # until a step is accepted: the products would be the same ones again
        z = apply(point.inverse_diagonal, point.gradient)
        first = initial_step(point, z)
        if self._first_radius is not None:
            (gz,) = point.dots((point.gradient, z))
            size = math.sqrt(gz)  # of z in the preconditioner's norm
            first = min(first, float(scalars["radius"]) / size) if size > 0.0 else first
            self._reach = first * size
        return Proposal(vectors.negative(z), first, restart=why, unaffordable=unaffordable)


def next_forcing(last: float, norm_before: float, norm_after: float) -> float:
    r"""Eisenstat and Walker's choice 2, :math:`\eta_+ = \gamma (|g_+| / |g|)^\alpha`, with their safeguard, at most 1/2.

    Args:
        last: The forcing term of the solve that led from one gradient to the other.
        norm_before: Norm of the gradient before.
        norm_after: Norm of the gradient after.
    """
    ratio = norm_after / norm_before if norm_before > 0.0 else 1.0
    forcing = _GAMMA * min(ratio, 1.0) ** _ALPHA
    kept = _GAMMA * last**_ALPHA
    return min(max(forcing, kept) if kept > _MATTERS else forcing, _LOOSEST)
