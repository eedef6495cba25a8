r"""Linear conjugate gradients for :math:`A x = b`, the inner solver of truncated Newton methods.

Minimises the model :math:`q(x) = \frac12 \langle x, A x \rangle - \langle b, x \rangle` by products with A alone (M. Hestenes,
E. Stiefel, 1952), preconditioned, over lists of tensors. A need not be positive definite: the solver leaves at the first
direction of negative curvature, or on the border of a trust region (T. Steihaug, "The conjugate gradient method and trust
regions in large scale optimization", SIAM J. Numer. Anal. 20 (1983)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from torch import Tensor

from homestretch import vectors
from homestretch.vectors import Vector

Operator = Callable[[Vector], Vector]


class Dots(Protocol):
    """Inner products of several pairs at once, as :meth:`homestretch.directions.base.Point.dots`."""

    def __call__(self, *pairs: tuple[Sequence[Tensor], Sequence[Tensor]]) -> list[float]:
        """One float64 number a pair."""
        ...


class CGStatus(Enum):
    """Why the solver left; the value is a sentence for the record."""

    CONVERGED = "the residual fell below the tolerance"
    PROGRESS = "the model's relative progress fell below the tolerance"
    NEGATIVE_CURVATURE = "a direction of negative curvature was found"
    BOUNDARY = "the solution reached the border of the trust region"
    LIMIT = "the iterations were used up"
    NON_FINITE = "a product was not finite"


@dataclass
class CGResult:
    r"""What came of it.

    Attributes:
        solution: x. Never worse for the model than the start.
        model: :math:`q(x)`, not positive.
        iterations: Products used, that of a warm start included.
        status: Why the solver left.
        negative_direction: The direction of non-positive curvature that was found, ``None`` if none was.
        residual_norm: :math:`|b - A x|`, by recursion.
        reach: :math:`\langle x, M x \rangle^{1/2}`, what a trust region bounds; not known after a warm start.
    """

    solution: Vector
    model: float
    iterations: int
    status: CGStatus
    negative_direction: Vector | None
    residual_norm: float
    reach: float = math.inf


@dataclass(frozen=True)
class CGOptions:
    r"""When to stop.

    Attributes:
        max_iterations: Limit on products.
        tolerance: Stop at :math:`|b - A x| \le` this times :math:`|b|` (Eisenstat and Walker's forcing term).
        progress: Stop when the model gained less than this a step, relatively, over the last ``max(10, k / 10)`` of k steps
            (J. Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 4.4, who takes 5e-4); 0 never.
        radius: Trust region :math:`\langle x, M x \rangle \le` this squared; infinite for none.
        curvature: Negative curvature is :math:`\langle p, A p \rangle \le` this times :math:`\langle p, p \rangle`.
    """

    max_iterations: int = 100
    tolerance: float = 1e-8
    progress: float = 0.0
    radius: float = math.inf
    curvature: float = 0.0

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be positive, got {self.max_iterations}")
        for name in ("tolerance", "progress", "curvature"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        if not self.radius > 0.0:
            raise ValueError(f"radius must be positive, got {self.radius}")


def linear_cg(
    product: Operator,
    right: Vector,
    dots: Dots,
    options: CGOptions,
    *,
    precondition: Operator | None = None,
    start: Vector | None = None,
) -> CGResult:
    """Solve ``A x = right`` approximately.

    Args:
        product: ``A v``, as a new vector.
        right: The right-hand side b; left alone.
        dots: Inner products.
        options: When to stop.
        precondition: ``M^-1 v`` for a positive definite M close to A; may return ``v`` itself.
        start: A guess, left alone. It is scaled to the model's minimiser along it first, which makes any guess harmless. Not
            together with a trust region.

    Raises:
        ValueError: If a start and a trust region are both given.
    """
    if start is not None and options.radius < math.inf:
        raise ValueError("start cannot be given together with a finite radius: Steihaug's argument needs a start at zero")
    return _Solver(product, right, dots, options, precondition).run(start)


class _Solver:
    """The state of one solve; names follow Golub and Van Loan: x solution, r residual, z = M^-1 r, p direction."""

    def __init__(self, product: Operator, right: Vector, dots: Dots, options: CGOptions, precondition: Operator | None) -> None:
        self.product = product
        self.dots = dots
        self.options = options
        self.precondition = precondition or _same
        self.x = vectors.zeros_like(right)
        self.r = vectors.clone(right)
        self.models = [0.0]
        self.used = 0
        self.negative: Vector | None = None
        self.reach = 0.0

    def run(self, start: Vector | None) -> CGResult:
        (bb,) = self.dots((self.r, self.r))
        self.target = self.options.tolerance**2 * bb
        if start is not None:
            self._warm_start(start)
        status = self._iterate()
        return CGResult(self.x, self.models[-1], self.used, status, self.negative, math.sqrt(self.rr), self.reach)

    def _warm_start(self, start: Vector) -> None:
        image = self.product(start)
        self.used += 1
        bs, curvature = self.dots((self.r, start), (start, image))
        if not (curvature > 0.0 and math.isfinite(curvature)) or bs == 0.0:
            return
        scale = bs / curvature
        self.reach = math.inf
        vectors.add_(self.x, start, scale)
        vectors.add_(self.r, image, -scale)
        self.models = [-0.5 * scale * bs]

    def _iterate(self) -> CGStatus:
        z = self.precondition(self.r)
        self.rr, rz = self.dots((self.r, self.r), (self.r, z))
        p = vectors.clone(z)
        # Norms of x and p, and their product, in the metric M, by recursion (Conn, Gould, Toint, 2000, 7.5.1).
        xx, xp, pp = 0.0, 0.0, rz
        while True:
            if self.rr <= self.target or rz <= 0.0:
                return CGStatus.CONVERGED
            if self.used >= self.options.max_iterations:
                return CGStatus.LIMIT
            image = self.product(p)
            self.used += 1
            curvature, length = self.dots((p, image), (p, p))
            if not math.isfinite(curvature):
                return CGStatus.NON_FINITE
            if curvature <= self.options.curvature * length:
                self.negative = p
                return self._to_border(p, xx, xp, pp, rz, curvature, CGStatus.NEGATIVE_CURVATURE)
            step = rz / curvature
            if xx + 2.0 * step * xp + step * step * pp >= self.options.radius**2:
                return self._to_border(p, xx, xp, pp, rz, curvature, CGStatus.BOUNDARY)
            vectors.add_(self.x, p, step)
            vectors.add_(self.r, image, -step)
            self.models.append(self.models[-1] - 0.5 * step * rz)
            if self._stalled():
                return CGStatus.PROGRESS
            xx, xp = xx + 2.0 * step * xp + step * step * pp, xp + step * pp
            self.reach = max(self.reach, math.sqrt(max(xx, 0.0)))  # which grows with every step, or is unknown
            z = self.precondition(self.r)
            self.rr, new = self.dots((self.r, self.r), (self.r, z))
            beta, rz = new / rz, new
            vectors.scale_(p, beta)
            vectors.add_(p, z)
            xp, pp = beta * xp, rz + beta * beta * pp

    def _to_border(self, p: Vector, xx: float, xp: float, pp: float, rz: float, curvature: float, status: CGStatus) -> CGStatus:
        """Follow p to the border of the trust region, if there is one."""
        if self.options.radius < math.inf:
            step = (math.sqrt(max(xp * xp + pp * (self.options.radius**2 - xx), 0.0)) - xp) / pp
            vectors.add_(self.x, p, step)
            self.reach = self.options.radius
            self.models.append(self.models[-1] - step * rz + 0.5 * step * step * curvature)
        return status

    def _stalled(self) -> bool:
        k = len(self.models) - 1
        window = max(10, k // 10)
        if self.options.progress <= 0.0 or k <= window:
            return False
        new, old = self.models[-1], self.models[-1 - window]
        return new < 0.0 and (new - old) / new < window * self.options.progress


def _same(vector: Vector) -> Vector:
    return vector
