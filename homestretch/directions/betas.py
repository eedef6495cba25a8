r"""The conjugate-gradient factor beta, by its many formulas.

With :math:`y = g_{k+1} - g_k`, the last direction :math:`d = d_k` and the preconditioned gradients :math:`z = M^{-1} g`,
the next direction is :math:`d_{k+1} = -z_{k+1} + \beta d_k`. Every formula below is its preconditioned form (Hager and
Zhang, "A survey of nonlinear conjugate gradient methods", Pac. J. Optim. 2 (2006), section 8); with :math:`M = I` it is
the published one. Inner products run over the whole parameter list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class BetaTerms:
    """The inner products that the formulas need.

    Attributes:
        gz: ``<g_new, M^-1 g_new>``.
        gz_old: ``<g_old, M^-1 g_old>``.
        yz: ``<y, M^-1 g_new>``.
        yy: ``<y, M^-1 y>``.
        dy: ``<d, y>``.
        dg: ``<d, g_new>``.
        dg_old: ``<d, g_old>``, negative.
        dd: ``<d, M d>``; ``<d, d>`` for the identity.
    """

    gz: float
    gz_old: float
    yz: float
    yy: float
    dy: float
    dg: float
    dg_old: float
    dd: float


Beta = Callable[[BetaTerms], float]


def fletcher_reeves(t: BetaTerms) -> float:
    """Fletcher and Reeves (1964)."""
    return t.gz / t.gz_old


def polak_ribiere(t: BetaTerms) -> float:
    """Polak and Ribiere (1969), kept non-negative (Powell, 1984)."""
    return max(t.yz / t.gz_old, 0.0)


def hestenes_stiefel(t: BetaTerms) -> float:
    """Hestenes and Stiefel (1952), kept non-negative."""
    return max(t.yz / t.dy, 0.0)


def dai_yuan(t: BetaTerms) -> float:
    """Dai and Yuan (1999)."""
    return t.gz / t.dy


def liu_storey(t: BetaTerms) -> float:
    """Liu and Storey (1991), kept non-negative."""
    return max(t.yz / -t.dg_old, 0.0)


def hybrid(t: BetaTerms) -> float:
    """Dai and Yuan (2001): Hestenes-Stiefel, kept between 0 and Dai-Yuan."""
    return max(0.0, min(hestenes_stiefel(t), dai_yuan(t)))


def hager_zhang_2005(t: BetaTerms, eta: float = 0.01) -> float:
    """Hager and Zhang (2005), formulas 1.3, 1.5 and 1.6: bounded below by ``-1 / (|d| min(eta, |g_old|))``."""
    floor = -1.0 / (math.sqrt(t.dd) * min(eta, math.sqrt(t.gz_old)))
    return max(_hager_zhang(t), floor)


def hager_zhang(t: BetaTerms, eta: float = 0.4) -> float:
    """Hager and Zhang (2013), SIAM J. Optim. 23: bounded below by ``eta <d, g_old> / <d, M d>``."""
    return max(_hager_zhang(t), eta * t.dg_old / t.dd)


def _hager_zhang(t: BetaTerms) -> float:
    return (t.yz - 2.0 * t.yy * t.dg / t.dy) / t.dy


BETAS: dict[str, Beta] = {
    "fletcher-reeves": fletcher_reeves,
    "polak-ribiere": polak_ribiere,
    "hestenes-stiefel": hestenes_stiefel,
    "dai-yuan": dai_yuan,
    "liu-storey": liu_storey,
    "hybrid": hybrid,
    "hager-zhang-2005": hager_zhang_2005,
    "hager-zhang": hager_zhang,
}
