r"""Extreme eigenvalues of a symmetric operator by Lanczos tridiagonalisation, over lists of tensors.

From a start q, k products build an orthonormal basis of :math:`\mathrm{span}(q, Hq, \dots, H^{k-1} q)` in which H is a
tridiagonal matrix T (C. Lanczos, 1950). The eigenvalues of T, the Ritz values, approach the extreme ones of H first. In
floating point the basis loses orthogonality as soon as one has converged, and copies of it appear; so every new vector is
orthogonalised against all others, twice (B. Parlett, "The Symmetric Eigenvalue Problem", 1980). Memory: one vector a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from homestretch import arguments, vectors
from homestretch.errors import NonFiniteError
from homestretch.vectors import Vector

Product = Callable[[Vector], Vector]
"""A symmetric operator: takes a vector and returns a new one."""

_BREAKDOWN = 8.0  # an off-diagonal entry below this many rounding units of the operator's size is rounding


@dataclass
class Tridiagonal:
    r"""The matrix T of k Lanczos steps.

    Attributes:
        diagonal: k entries :math:`\langle q_j, H q_j \rangle`.
        off_diagonal: k entries; the last one is the length of what sticks out of the basis, 0 if that has all dimensions.
        size: Dimension n of the space.
        complete: Whether the basis spans an invariant subspace: its Ritz values are then eigenvalues, up to rounding.
        rounding: The rounding unit that products were made in; beyond its share of the operator's size nothing is known.
    """

    diagonal: list[float] = field(default_factory=list)
    off_diagonal: list[float] = field(default_factory=list)
    size: int = 0
    complete: bool = False
    rounding: float = 0.0

    @property
    def products(self) -> int:
        """Products used."""
        return len(self.diagonal)

    def ritz(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        r"""Ritz values, residuals and weights, each of length k, in ascending order of the values.

        The residual of a Ritz pair is :math:`|H y - \theta y| = \beta_k |s_k|`, with s the eigenvector of T: some eigenvalue
        of H lies no further than that from :math:`\theta`. The weight :math:`s_1^2` is the share of the start along y.
        """
        off = self.off_diagonal[:-1]
        matrix = np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)
        values, modes = np.linalg.eigh(matrix)
        return values, self.off_diagonal[-1] * np.abs(modes[-1]), modes[0] ** 2


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The ends of a spectrum, as far as Lanczos has come.

    The true ends lie outside: ``smallest`` is never below the smallest eigenvalue, ``largest`` never above the largest. Some
    eigenvalue lies within each residual.

    Attributes:
        smallest: Smallest Ritz value.
        largest: Largest Ritz value.
        residual_smallest: Residual of the smallest.
        residual_largest: Residual of the largest.
        products: Products used.
        converged: Whether both residuals fell below the tolerance.
    """

    smallest: float
    largest: float
    residual_smallest: float
    residual_largest: float
    products: int
    converged: bool


def random_start(like: Sequence[Tensor], seed: int) -> Vector:
    """A Gaussian vector of length 1, shaped as ``like``: drawn on the host, so that every device gets the same.

    Raises:
        ValueError: If ``like`` has no entry.
    """
    check_filled("like", like)
    generator = torch.Generator().manual_seed(seed)
    start = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(device=t.device, dtype=t.dtype) for t in like]
    vectors.scale_(start, 1.0 / vectors.norm(start))
    return start


def check_filled(name: str, tensors: Sequence[Tensor]) -> None:
    """Refuse a space without a dimension."""
    if not tensors or not vectors.size(tensors):
        raise ValueError(f"{name} is empty: there is no parameter to take a curvature over")


def tridiagonalise(
    product: Product, start: Vector, steps: int, stop: Callable[[Tridiagonal], bool] = lambda _: False
) -> Tridiagonal:
    """Up to ``steps`` Lanczos steps, with full reorthogonalisation.

    Args:
        product: The operator H.
        start: The first basis vector, of any length but 0.
        steps: Products at most; the dimension of the space bounds them too.
        stop: Asked after each step whether it is enough.

    Raises:
        NonFiniteError: If a product is not finite.
    """
    length = vectors.norm(start)
    if not (length > 0.0 and math.isfinite(length)):
        raise ValueError(f"start must have a positive, finite length, got {length}")
    current = vectors.clone(start)
    vectors.scale_(current, 1.0 / length)
    basis = [current]
    found = Tridiagonal(size=vectors.size(start), rounding=max(vectors.working_eps(t.dtype) for t in start))
    for _ in range(min(arguments.count("steps", steps), found.size)):
        following = vectors.clone(product(basis[-1]))
        size = vectors.norm(following)
        if not math.isfinite(size):
            raise NonFiniteError("a Hessian product is not finite: the loss has no usable second derivative at this point")
        found.diagonal.append(_orthogonalise(following, basis))
        rest = vectors.norm(following)
        whole = len(basis) == found.size
        found.off_diagonal.append(0.0 if whole else rest)
        found.complete = whole or rest <= _BREAKDOWN * found.rounding * max(size, *map(abs, found.diagonal))
        if found.complete or stop(found):
            break
        vectors.scale_(following, 1.0 / rest)
        basis.append(following)
    return found


def extremes(
    product: Product, like: Sequence[Tensor], *, products: int = 30, tolerance: float = 1e-3, seed: int = 0
) -> Extremes:
    """Smallest and largest eigenvalue of a symmetric operator, from a seeded random start.

    Args:
        product: The operator.
        like: Tensors that give the space its shape, dtype and device.
        products: Products at most.
        tolerance: Both residuals must fall below this share of the largest absolute Ritz value.
        seed: Seed of the start.
    """
    check_filled("like", like)

    def near(found: Tridiagonal) -> bool:
        return found.products >= 2 and ends(found, tolerance).converged

    return ends(tridiagonalise(product, random_start(like, seed), products, near), tolerance)


def ends(found: Tridiagonal, tolerance: float) -> Extremes:
    """The ends of the spectrum that a Lanczos run has seen."""
    values, residuals, _ = found.ritz()
    scale = float(np.abs(values).max())
    residuals = np.maximum(residuals, found.rounding * scale)
    return Extremes(
        smallest=float(values[0]),
        largest=float(values[-1]),
        residual_smallest=float(residuals[0]),
        residual_largest=float(residuals[-1]),
        products=found.products,
        converged=bool(max(residuals[0], residuals[-1]) <= tolerance * scale),
    )


def _orthogonalise(vector: Vector, basis: Sequence[Vector]) -> float:
    """Take the basis out of ``vector``, twice; returns its inner product with the newest basis vector."""
    along_newest = 0.0
    for _ in range(2):
        shares = vectors.dots([(q, vector) for q in basis])
        for share, q in zip(shares, basis, strict=True):
            vectors.add_(vector, q, -share)
        along_newest += shares[-1]
    return along_newest
