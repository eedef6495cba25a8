r"""BFGS and its self-scaling relatives with a dense inverse Hessian.

With :math:`s = x_{k+1} - x_k`, :math:`y = g_{k+1} - g_k`, :math:`B = H^{-1}` and the numbers

.. math:: b = \frac{s^T B s}{s^T y}, \qquad h = \frac{y^T H y}{s^T y}, \qquad a = b h - 1 \ge 0,

all methods here take one step of the scaled Broyden class

.. math:: H_+ = \frac1\tau \Bigl( H - \frac{H y y^T H}{y^T H y} + \phi \, (y^T H y) \, v v^T \Bigr) + \frac{s s^T}{s^T y},
          \qquad v = \frac{s}{s^T y} - \frac{H y}{y^T H y}, \qquad \phi = \frac{1 - \theta}{1 + a \theta},

and differ in :math:`\theta` (0 is BFGS, 1 is DFP) and in the scaling :math:`\tau`: BFGS has :math:`\theta = 0, \tau = 1`, self-scaled
BFGS :math:`\tau = \min(1, 1/b)`, and self-scaled Broyden picks both in an interval that keeps H positive definite.

Sources: S. Oren, D. Luenberger, "Self-scaling variable metric algorithms", Management Sci. 20 (1974); M. Al-Baali, "Numerical
experience with a class of self-scaling quasi-Newton algorithms", J. Optim. Theory Appl. 96 (1998); M. Al-Baali, H. Khalfan,
"Wide interval for efficient self-scaling quasi-Newton algorithms", Optim. Methods Softw. 20 (2005); J. Urban, P. Stefanou, J.
Pons, "Unveiling the optimization process of physics informed neural networks", J. Comput. Phys. 523 (2025), who found them far
ahead of BFGS on physics-informed networks. The initial scaling is J. Nocedal and S. Wright's (2006), equation 6.20.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.errors import UnsupportedError
from homestretch.preconditioners import apply

VARIANTS = ("ssbroyden", "ssbfgs", "bfgs")
INITIAL = ("scaled", "identity")

_MAX_PARAMETERS = 6000
_BLOCK_BYTES = 2 << 20  # rows of H updated together on the CPU: what its caches hold


@dataclass(frozen=True)
class Update:
    """The two choices of one update: the family parameter ``phi`` and the scaling ``tau`` of the module's formula."""

    phi: float
    tau: float


def choose(variant: str, b: float, h: float, n: int) -> Update:
    r"""``phi`` and ``tau`` of a variant.

    Self-scaled Broyden, in the notation of Urban, Stefanou and Pons (2025, section 3): with :math:`c = \sqrt{a / (1 + a)}` and
    :math:`\rho^- = \min(1, h (1 - c))`,

    .. math:: \theta = \max\Bigl(\frac{\rho^- - 1}{a}, \min\Bigl(\frac1{\rho^-}, \frac{1 - b}{b}\Bigr)\Bigr), \quad \sigma = 1 + a\theta,
              \quad \rho = \min(1, 1/b), \quad
              \tau = \begin{cases} \rho \min(\sigma^{-1/(n-1)}, 1/\theta) & \theta > 0 \\
              \min(\rho \, \sigma^{-1/(n-1)}, \sigma) & \theta \le 0. \end{cases}

    Args:
        variant: One of :data:`VARIANTS`.
        b: :math:`s^T B s / s^T y`, positive.
        h: :math:`y^T H y / s^T y`, positive.
        n: Number of parameters.
    """
    if variant == "bfgs":
        return Update(1.0, 1.0)
    rho = min(1.0, 1.0 / b)
    if variant == "ssbfgs":
        return Update(1.0, rho)
    a = b * h - 1.0
    if a <= 1e-12:  # y is along B s: every member of the family gives the same matrix, and theta is 0 / 0
        return Update(1.0, rho)
    lowest = min(1.0, h * (1.0 - math.sqrt(a / (1.0 + a))))
    theta = max((lowest - 1.0) / a, min(1.0 / lowest, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    root = sigma ** (-1.0 / (n - 1)) if n > 1 else 1.0
    tau = rho * min(root, 1.0 / theta) if theta > 0.0 else min(rho * root, sigma)
    return Update((1.0 - theta) / sigma, tau)


class SelfScaledBroydenDirection:
    """Dense quasi-Newton: ``-H g`` with H from the self-scaling Broyden class.

    H has one row and one column a parameter, so its memory and the arithmetic of an update grow with the square of their
    number: at 5,000 parameters 200 MB in float64 and four passes over them an iteration.

    Args:
        variant: ``"ssbroyden"``, ``"ssbfgs"`` or ``"bfgs"``.
        initial: H before the first update: ``"scaled"`` for the preconditioner's inverse (the identity without one) times
            ``<s, y> / <y, M^-1 y>`` of the first step, ``"identity"`` for the same without that factor.
        max_parameters: More parameters than this are refused.

    Raises:
        ValueError: If a name is unknown or ``max_parameters`` is not positive.
    """

    def __init__(
        self, variant: str = "ssbroyden", *, initial: str = "scaled", max_parameters: int = _MAX_PARAMETERS
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if initial not in INITIAL:
            raise ValueError(f"initial must be one of {', '.join(INITIAL)}, got {initial!r}")
        if max_parameters < 1:
            raise ValueError(f"max_parameters must be positive, got {max_parameters}")
        self.name = variant
        self._initial = initial
        self._max_parameters = max_parameters

    def check(self, parameters: Sequence[Tensor]) -> None:
        """Refuse parameters that a dense matrix cannot serve.

        Raises:
            ValueError: If there are too many of them, or on several devices, or of several dtypes.
            UnsupportedError: If they are sharded.
        """
        if vectors.shard_groups(parameters):
            raise UnsupportedError(f"{self.name} keeps a dense matrix and cannot work on sharded parameters: use LBFGS")
        n = vectors.size(parameters)
        if n > self._max_parameters:
            raise ValueError(
                f"{self.name} keeps a dense matrix with a row for each parameter, at most {self._max_parameters} of them, got {n}: "
                "use LBFGS, or raise max_parameters if the memory is there"
            )
        if len({(p.device, p.dtype) for p in parameters}) > 1:
            raise ValueError(f"{self.name} needs all parameters on one device and of one dtype: use LBFGS or ConjugateGradient")

    def bind(self, memory: Memory) -> None:
        """Allocate H, or assemble it from loaded rows. The memory holds views of its rows, a block for each parameter."""
        self.check(memory.parameters)
        self._memory = memory
        local = vectors.locals_of(memory.parameters)
        n = vectors.size(local)
        rows = memory.get("rows")
        self._matrix = local[0].new_zeros((n, n)) if rows is None else torch.cat(rows)
        memory.set("rows", self._matrix.split([t.numel() for t in local]))
        memory.scalars.setdefault("updates", 0)
        memory.scalars.setdefault("tau", 1.0)
        memory.scalars.setdefault("phi", 1.0)

    def flush(self) -> None:
        """Everything is in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """``-H g``; the preconditioned steepest descent while H is unknown."""
        scalars = self._memory.scalars
        restart = ""
        if int(scalars["updates"]):
            flat = torch.mv(self._matrix, vectors.pack(point.gradient)).neg_()
            direction = vectors.unpack(flat, point.gradient)
            (slope,) = point.dots((point.gradient, direction))
            if slope < 0.0:
                extra = {"tau": float(scalars["tau"]), "phi": float(scalars["phi"])}
                return Proposal(direction, 1.0, scaled=True, slope=slope, extra=extra)
            self.reset()
            restart = "the inverse Hessian lost its positive definiteness to rounding"
        z = apply(point.inverse_diagonal, point.gradient)
        return Proposal(vectors.negative(z), initial_step(point, z), restart=restart)

    def accept(self, step: Step, point: Point) -> None:
        """Update H with the newest pair, if its curvature is positive."""
        d = vectors.pack(step.direction)
        y = vectors.pack(step.gradient_after) - vectors.pack(step.gradient_before)
        dy, dd, yy = point.dots(([d], [y]), ([d], [d]), ([y], [y]))
        if not dy > vectors.working_eps(y.dtype) * math.sqrt(dd * yy):
            return
        scalars = self._memory.scalars
        scale = 1.0  # H's factor before M^-1 when it was last the initial one
        if int(scalars["updates"]) == 0:
            scale = self._start(point, y, step.length * dy)
        hy = torch.mv(self._matrix, y)
        (yhy,) = point.dots(([y], [hy]))
        # d = -H g before the first scaling, so s'Bs needs no product with B.
        b = -step.length * step.slope_before / (dy * scale)
        sy = step.length * dy
        update = choose(self.name, b, yhy / sy, y.numel())
        if not all(math.isfinite(v) and v > 0.0 for v in (update.tau, 1.0 / update.tau, yhy)):
            return
        d.mul_(step.length)
        _update_(self._matrix, d, hy, (sy, yhy, b * sy), update)
        scalars.update(updates=int(scalars["updates"]) + 1, tau=update.tau, phi=update.phi)

    def reject(self, step: Step, point: Point) -> bool:
        """Forget H; without it there is nothing more to propose."""
        learned = int(self._memory.scalars["updates"]) > 0
        self.reset()
        return learned

    def renew(self, point: Point) -> None:
        """Keep H, which a changed function mostly shares, if it is still positive definite beyond rounding."""
        if int(self._memory.scalars["updates"]):
            _, failed = torch.linalg.cholesky_ex(self._matrix)
            if bool(failed):
                self.reset()

    def reset(self) -> None:
        """Forget H."""
        self._memory.scalars["updates"] = 0

    def _start(self, point: Point, y: Tensor, sy: float) -> float:
        """Set H to the initial matrix; returns its factor before the preconditioner's inverse."""
        inverse = torch.ones_like(y) if point.inverse_diagonal is None else vectors.pack(point.inverse_diagonal)
        scale = 1.0
        if self._initial == "scaled":
            (ypy,) = point.dots(([y], [inverse * y]))
            scale = sy / ypy
        self._matrix.zero_()
        torch.mul(inverse, scale, out=self._matrix.diagonal())
        return scale


def _update_(matrix: Tensor, s: Tensor, hy: Tensor, products: tuple[float, float, float], update: Update) -> None:
    r"""The module's formula in place, from ``H y`` and the products ``<s, y>``, ``<y, H y>`` and ``<s, B s>``.

    Written out it is :math:`H_+ = H / \tau + k_{ss} s s^T + k_{sh} (s h^T + h s^T) + k_{hh} h h^T` with :math:`h = H y`. Completing
    the square leaves two rank-one terms of the form :math:`\pm w w^T`, which keep H symmetric and are added block of rows by
    block of rows, so that H is read and written once.
    """
    sy, yhy, sbs = products
    phi, tau = update.phi, update.tau
    ss = phi * yhy / (sy * sy * tau) + 1.0 / sy
    sh = -phi / (sy * tau)
    hh = (phi - 1.0) / (yhy * tau)
    # The square is completed for the heavier of the two; in the metric of B the lengths of s and h are known.
    if abs(ss) * sbs >= abs(hh) * yhy:
        terms = ((ss, s + (sh / ss) * hy), (hh - sh * sh / ss, hy))
    else:
        terms = ((hh, hy + (sh / hh) * s), (ss - sh * sh / hh, s))
    add_rank_one_(matrix, 1.0 / tau, terms)


def add_rank_one_(matrix: Tensor, scale: float, terms: Sequence[tuple[float, Tensor]]) -> None:
    r"""In place :math:`A \leftarrow c A + \sum_i k_i w_i w_i^T`, reading and writing A once.

    Args:
        matrix: A, square.
        scale: c.
        terms: Pairs of :math:`k_i` and :math:`w_i`.
    """
    roots = [(math.copysign(1.0, k), math.sqrt(abs(k)) * w) for k, w in terms]
    n = len(matrix)
    rows = max(1, _BLOCK_BYTES // (n * matrix.element_size())) if matrix.device.type == "cpu" else n
    for start in range(0, n, rows):
        block = matrix[start : start + rows]
        factor = scale
        for sign, w in roots:
            block.addr_(w[start : start + rows], w, beta=factor, alpha=sign)
            factor = 1.0
