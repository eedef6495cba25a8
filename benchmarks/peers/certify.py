"""Is the point where a run ended a local minimum, though in no list?

Some test functions have more local minima than anyone has listed (the trigonometric function of 1,000 unknowns sends
nearly every method to its own). A solver that ends in one has done its work, so the point is checked, whoever found it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigsh
from torch import Tensor

from benchmarks.functions.problem import Problem

DENSE_LIMIT = 1500
SINGULAR = 1e-10
"""Smallest over largest eigenvalue from which on a Hessian counts as positive definite beyond rounding."""


class _Curvature(LinearOperator):
    """The Hessian of f at a point, by its products, and the gradient there."""

    def __init__(self, problem: Problem, x: Tensor) -> None:
        super().__init__(np.float64, (problem.size, problem.size))
        self._x = x.detach().clone().requires_grad_()
        (self._gradient,) = torch.autograd.grad(problem.loss(self._x), self._x, create_graph=True)
        self.gradient = self._gradient.detach().numpy()

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        vector = torch.tensor(x.reshape(-1), dtype=torch.float64)
        return torch.autograd.grad(self._gradient, self._x, vector, retain_graph=True)[0].numpy()

    def dense(self) -> np.ndarray:
        matrix = np.stack([self.matvec(row) for row in np.eye(self.gradient.size)])
        return (matrix + matrix.T) / 2


def _newton_step_dense(curvature: _Curvature) -> np.ndarray | None:
    matrix = curvature.dense()
    if not np.isfinite(matrix).all():
        return None
    values, vectors = np.linalg.eigh(matrix)
    if values[0] <= SINGULAR * values[-1]:
        return None
    return -vectors @ ((vectors.T @ curvature.gradient) / values)


def _newton_step_by_products(curvature: _Curvature) -> np.ndarray | None:
    start = np.random.default_rng(0).standard_normal(curvature.gradient.size)
    try:
        largest = eigsh(curvature, 1, which="LA", v0=start, tol=1e-2, maxiter=300, return_eigenvectors=False)[0]
        smallest = eigsh(curvature, 1, which="SA", v0=start, tol=1e-2, maxiter=300, return_eigenvectors=False)[0]
    except ArpackNoConvergence:
        return None
    if smallest <= SINGULAR * largest:
        return None
    step, failed = cg(curvature, -curvature.gradient, rtol=1e-6, maxiter=1000)
    return None if failed else step


def local_minimum(problem: Problem, x: Tensor, tolerance: float = 1e-9) -> float | None:
    """Return f at the local minimum that x has reached, or None if it cannot be shown to have reached one.

    Shown means: the Hessian at x is positive definite, and Newton's step, where the quadratic model has its minimum,
    lowers neither the model nor f itself by more than `tolerance` (1 + |f|).

    Args:
        problem: what was minimised.
        x: where the run ended, shape (n,).
        tolerance: relative to 1 + |f|; a tenth of what a solved run is allowed.
    """
    curvature = _Curvature(problem, x)
    if not np.isfinite(curvature.gradient).all():
        return None
    find_step = _newton_step_dense if problem.size <= DENSE_LIMIT else _newton_step_by_products
    step = find_step(curvature)
    if step is None:
        return None
    here = problem.loss(x).item()
    there = problem.loss(x + torch.from_numpy(step)).item()
    decrease = max(-float(curvature.gradient @ step) / 2, here - there)
    return min(here, there) if decrease <= tolerance * (1 + abs(here)) else None
