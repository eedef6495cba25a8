r"""Updates of BFGS and its self-scaling relatives, for an inverse Hessian kept as a product :math:`H = J J^T`.

With :math:`s = x_{k+1} - x_k`, :math:`y = g_{k+1} - g_k`, :math:`B = H^{-1}` and the numbers

.. math:: b = \frac{s^T B s}{s^T y}, \qquad h = \frac{y^T H y}{s^T y}, \qquad a = b h - 1 \ge 0,

all methods here take one step of the scaled Broyden class

.. math:: H_+ = \frac1\tau \Bigl( H - \frac{H y y^T H}{y^T H y} + \phi \, (y^T H y) \, v v^T \Bigr) + \frac{s s^T}{s^T y},
          \qquad v = \frac{s}{s^T y} - \frac{H y}{y^T H y}, \qquad \phi = \frac{1 - \theta}{1 + a \theta},

and differ in :math:`\theta` (0 is BFGS, 1 is DFP) and in the scaling :math:`\tau`: BFGS has :math:`\theta = 0, \tau = 1`,
self-scaled BFGS :math:`\tau = \min(1, 1/b)`, and self-scaled Broyden picks both in an interval that keeps H positive
definite.

Updating J in place of H (K. Brodlie, A. Gourlay, J. Greenstadt, "Rank-one and rank-two corrections to positive definite
matrices expressed in product form", J. Inst. Maths Applics 11 (1973); M. Powell, "Updating conjugate directions by the BFGS
formula", Math. Prog. 38 (1987)) makes H positive definite whatever the rounding, and J has only the root of H's condition
number. On physics-informed networks that number passes 1e16: H itself then loses its definiteness even in float64, while J
serves in float32.

Sources: S. Oren, D. Luenberger, "Self-scaling variable metric algorithms", Management Sci. 20 (1974); M. Al-Baali, "Numerical
experience with a class of self-scaling quasi-Newton algorithms", J. Optim. Theory Appl. 96 (1998); M. Al-Baali, H. Khalfan,
"Wide interval for efficient self-scaling quasi-Newton algorithms", Optim. Methods Softw. 20 (2005); J. Urban, P. Stefanou, J.
Pons, "Unveiling the optimization process of physics informed neural networks", J. Comput. Phys. 523 (2025), who found them far
ahead of BFGS on physics-informed networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch import vectors

VARIANTS = ("ssbroyden", "ssbfgs", "bfgs")

_LEAST_TAU = 1e-3  # H grows by at most its inverse in one update
_BLOCK_BYTES = 2 << 20  # rows of J updated together on the CPU: what its caches hold


@dataclass(frozen=True)
class Update:
    """The two choices of one update: the family parameter ``theta`` and the scaling ``tau`` of the module's formula."""

    theta: float
    tau: float


def choose(variant: str, a: float, b: float, n: int) -> Update:
    r"""``theta`` and ``tau`` of a variant.

    Self-scaled Broyden, as Urban, Stefanou and Pons (2025, arXiv:2405.04230) give it: with :math:`c = \sqrt{a / (1 + a)}` and
    :math:`\rho^- = \min(1, h (1 - c))`,

    .. math:: \theta = \max\Bigl(\frac{\rho^- - 1}{a}, \min\Bigl(\frac1{\rho^-}, \frac{1 - b}{b}\Bigr)\Bigr), \quad
              \sigma = 1 + a\theta, \quad \rho = \min(1, 1/b), \quad
              \tau = \begin{cases} \rho \min(\sigma^{-1/(n-1)}, 1/\theta) & \theta > 0 \\
              \min(\rho \, \sigma^{-1/(n-1)}, \sigma) & \theta \le 0. \end{cases}

    Our addition: :math:`\tau` is at least 1e-3. A search that went far beyond its first step makes :math:`1/b` as small as that
    step was short, and H as much too large in all other directions: on Brown's badly scaled function by 1e10, so that every
    other search began 1e20 too far out and was in vain. On the benchmarks' Poisson problem it stays above 0.07.

    Args:
        variant: One of :data:`VARIANTS`.
        a: :math:`b h - 1`, not negative.
        b: :math:`s^T B s / s^T y`, positive.
        n: Number of parameters.
    """
    if variant == "bfgs":
        return Update(0.0, 1.0)
    rho = min(1.0, 1.0 / b)
    # For y along B s every member of the family gives the same matrix, and theta would be 0 / 0.
    if variant == "ssbfgs" or a <= 1e-12:
        return Update(0.0, max(rho, _LEAST_TAU))
    h = (1.0 + a) / b
    lowest = min(1.0, h * (1.0 - math.sqrt(a / (1.0 + a))))
    theta = max((lowest - 1.0) / a, min(1.0 / lowest, (1.0 - b) / b)) if lowest > 0.0 else (1.0 - b) / b
    sigma = 1.0 + a * theta
    root = sigma ** (-1.0 / (n - 1)) if n > 1 else 1.0
    tau = rho * min(root, 1.0 / theta) if theta > 0.0 else min(rho * root, sigma)
    return Update(theta, max(tau, _LEAST_TAU))


def update_root_(root: Tensor, s: Tensor, y: Tensor, r: Tensor, sy: float, variant: str) -> Update | None:
    r"""The module's formula on J, in place.

    With :math:`z = J^T y`, :math:`r = J^{-1} s` and the unit vectors :math:`\hat z = z / |z|` and :math:`\hat e` along
    :math:`e = r - (s^T y / |z|)\, \hat z`, the new matrix is :math:`H_+ = J M J^T` with :math:`M = I / \tau` outside the plane
    of these two. By M's Cholesky factor inside it

    .. math:: J_+ = \frac{J}{\sqrt\tau} + \Bigl( \frac{s}{\sqrt{s^T y}} - \frac{J \hat z}{\sqrt\tau} \Bigr) \hat z^T
              + \Bigl( \sqrt{\frac{1 + a}{1 + a \theta}} - 1 \Bigr) \frac{J \hat e}{\sqrt\tau}\, \hat e^T, \qquad
              J e = s - \frac{s^T y}{|z|} J \hat z,

    and :math:`a = |e|^2 |z|^2 / (s^T y)^2`, which cannot come out negative.

    Args:
        root: J, shape (n, n), overwritten.
        s: The step, shape (n,).
        y: The change of the gradient, shape (n,).
        r: :math:`J^{-1} s`, shape (n,).
        sy: Their inner product, positive.
        variant: One of :data:`VARIANTS`.

    Returns:
        What was chosen; ``None``, with J as it was, if a number is not finite.
    """
    z = torch.mv(root.T, y)
    (zz,) = vectors.dots([([z], [z])])
    if not 0.0 < zz < math.inf:
        return None
    unit = z / math.sqrt(zz)
    image = torch.mv(root, unit)  # J times the unit vector along z
    along = sy / math.sqrt(zz)
    e = torch.add(r, unit, alpha=-along)
    rr, ee = vectors.dots([([r], [r]), ([e], [e])])
    if not 0.0 < rr < math.inf:
        return None
    a = ee / along**2
    update = choose(variant, a, rr / sy, y.numel())
    sigma = 1.0 + a * update.theta
    if not (0.0 < update.tau < math.inf and 0.0 < sigma < math.inf):
        return None
    scale = 1.0 / math.sqrt(update.tau)
    terms = [(torch.add(s / math.sqrt(sy), image, alpha=-scale), unit)]
    if ee > 0.0:
        stretch = (math.sqrt((1.0 + a) / sigma) - 1.0) * scale / ee
        terms.append((torch.add(s, image, alpha=-along).mul_(stretch), e))
    add_outer_(root, scale, terms)
    return update


def add_outer_(matrix: Tensor, scale: float, terms: Sequence[tuple[Tensor, Tensor]]) -> None:
    r"""In place :math:`A \leftarrow c A + \sum_i u_i w_i^T`, reading and writing A once: block of rows by block of rows.

    Args:
        matrix: A, square.
        scale: c.
        terms: Pairs of :math:`u_i` and :math:`w_i`.
    """
    n = len(matrix)
    rows = max(1, _BLOCK_BYTES // (n * matrix.element_size())) if matrix.device.type == "cpu" else n
    for start in range(0, n, rows):
        block = matrix[start : start + rows]
        factor = scale
        for u, w in terms:
            block.addr_(u[start : start + rows], w, beta=factor)
            factor = 1.0
