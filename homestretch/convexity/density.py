r"""The spectral density of a symmetric operator, and the share of negative curvature, as estimates.

Stochastic Lanczos quadrature: for a random v of length 1, the mean of :math:`v^\top f(H) v` is
:math:`\frac1n \mathrm{tr} f(H)`, and k Lanczos steps give :math:`v^\top f(H) v \approx \sum_i w_i f(\theta_i)` from Ritz values
and weights, exactly for polynomials up to degree 2k - 1. With a narrow Gaussian for f that is the density (L. Lin, Y. Saad,
C. Yang, "Approximating Spectral Densities of Large Matrices", SIAM Review 58 (2016); for Hessians of networks B. Ghorbani,
S. Krishnan, Y. Xiao, 2019, and V. Papyan, 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from homestretch import arguments
from homestretch.convexity.lanczos import Product, Tridiagonal, random_start, tridiagonalise


@dataclass(frozen=True, kw_only=True)
class NegativeFraction:
    """Share of the eigenvalues below a threshold, an estimate.

    Attributes:
        value: The estimate, between 0 and 1.
        standard_error: Its standard error over the random vectors; NaN for one vector.
        threshold: Eigenvalues below this one (0 or negative) were counted.
        starts: Number of random vectors.
    """

    value: float
    standard_error: float
    threshold: float
    starts: int


@dataclass(frozen=True, kw_only=True)
class SpectralDensity:
    """Quadrature nodes of a spectrum: the nodes of each random vector and their weights, which add up to 1.

    Attributes:
        nodes: One array of Ritz values for each vector.
        weights: Their weights.
        products: Products used in all.
    """

    nodes: tuple[NDArray[np.float64], ...]
    weights: tuple[NDArray[np.float64], ...]
    products: int

    @classmethod
    def from_runs(cls, runs: Sequence[Tridiagonal]) -> SpectralDensity:
        """From Lanczos runs that began at random vectors."""
        parts = [run.ritz() for run in runs]
        nodes, weights = tuple(p[0] for p in parts), tuple(p[2] for p in parts)
        return cls(nodes=nodes, weights=weights, products=sum(run.products for run in runs))

    def density(self, at: NDArray[np.float64], width: float | None = None) -> NDArray[np.float64]:
        """The density at given points, each node smoothed by a Gaussian.

        Args:
            at: Points, any shape.
            width: Standard deviation of the Gaussian; 1 % of the width of the spectrum by default (of its distance from 0
                where it is one point, of 1 where that is 0).
        """
        if width is None:
            ends = np.concatenate(self.nodes)
            width = 0.01 * float(np.ptp(ends) or np.abs(ends).max() or 1.0)
        arguments.positive("width", width)
        points = np.asarray(at, dtype=np.float64)[..., None]
        each = [
            (w * np.exp(-0.5 * ((points - t) / width) ** 2)).sum(axis=-1) for t, w in zip(self.nodes, self.weights, strict=True)
        ]
        return np.mean(each, axis=0) / (width * math.sqrt(2.0 * math.pi))

    def mean(self, power: int = 1) -> float:
        r"""The mean of a power of the eigenvalues, :math:`\frac1n \mathrm{tr} H^p`, an estimate."""
        return float(np.mean([(w * t**power).sum() for t, w in zip(self.nodes, self.weights, strict=True)]))

    def negative_fraction(self, tolerance: float = 1e-3) -> NegativeFraction:
        """The estimated share of clearly negative eigenvalues.

        Args:
            tolerance: Eigenvalues above minus this share of the largest absolute one count as zero: most eigenvalues of an
                over-determined network's Hessian are nearly zero, of either sign by rounding.
        """
        threshold = -tolerance * max(float(np.abs(t).max()) for t in self.nodes)
        each = [float(w[t < threshold].sum()) for t, w in zip(self.nodes, self.weights, strict=True)]
        spread = float(np.std(each, ddof=1) / math.sqrt(len(each))) if len(each) > 1 else math.nan
        return NegativeFraction(value=float(np.mean(each)), standard_error=spread, threshold=threshold, starts=len(each))


def spectral_density(
    product: Product, like: Sequence[Tensor], *, starts: int = 4, steps: int = 30, seed: int = 0
) -> SpectralDensity:
    """Estimate the spectral density by ``starts`` Lanczos runs of ``steps`` products each.

    Args:
        product: The symmetric operator.
        like: Tensors that give the space its shape, dtype and device.
        starts: Random vectors.
        steps: Products for each.
        seed: Seed of the first vector; the next ones count up from it.
    """
    seeds = range(seed, seed + arguments.count("starts", starts))
    return SpectralDensity.from_runs([tridiagonalise(product, random_start(like, s), steps) for s in seeds])
