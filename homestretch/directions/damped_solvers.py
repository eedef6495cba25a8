r"""Three ways to solve the damped least-squares step of Levenberg-Marquardt for any damping, after one factorisation a point.

.. math:: \delta(\lambda) = \arg\min_\delta \|\rho + J \delta\|^2 + \lambda \|D \delta\|^2

- :class:`OrthogonalSolver`: R of the QR decomposition of :math:`[J\ \rho]`, found piece by piece, then of R
  over :math:`\sqrt\lambda D` for every damping (J. More, "The Levenberg-Marquardt algorithm: implementation and theory", 1978,
  section 3). The condition is that of J: small singular values keep their digits.
- :class:`NormalSolver`: Cholesky of :math:`J^T J + \lambda D^2`. Half the work, but the condition is squared: singular
  values below the square root of the rounding unit, relatively, are lost.
- :class:`DualSolver`: Cholesky of :math:`J D^{-2} J^T + \lambda I`, for fewer residuals than parameters (Woodbury).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor

Piece = tuple[Tensor, Tensor]
Pieces = Iterable[Piece]
"""Residuals, shape (n,), with their rows of the Jacobian, shape (n, P)."""


def expected_flops(solver: str, rows: int, columns: int) -> float:
    """About what a solver of this name spends on one point: its factorisation and one step."""
    if solver == "auto":
        solver = "dual" if rows < columns else "normal"
    short = min(rows, columns)
    return {
        "qr": 2.0 * short * short * (max(rows, columns) - short / 3.0) + 4.0 * columns**3,
        "normal": 2.0 * rows * columns**2 + columns**3 / 3.0,
        "dual": 2.0 * columns * rows**2 + rows**3 / 3.0,
    }[solver]


class DampedSolver(Protocol):
    """Solves for any damping.

    Attributes:
        columns: Squared norms of the Jacobian's columns, shape (P,).
        floor: The smallest damping that survives rounding, relative to the largest squared column norm.
        flops: Floating-point operations so far.
    """

    columns: Tensor
    floor: float
    flops: float

    def factor(self, damping: float, scale: Tensor) -> bool:
        """Prepare for a damping and a diagonal D, shape (P,); false where the matrix is singular to rounding."""
        ...

    def step(self) -> tuple[Tensor, float]:
        r"""The step :math:`\delta`, shape (P,), and :math:`\|J \delta\|^2`, for the damping that was prepared."""
        ...

    def correct(self, right: Tensor) -> Tensor:
        r""":math:`(J^T J + \lambda D^2)^{-1}` times a vector of shape (P,)."""
        ...


class OrthogonalSolver:
    """By QR; see the module."""

    def __init__(self, pieces: Pieces) -> None:
        self.flops = 0.0
        upper: Tensor | None = None
        for rho, rows in pieces:
            block = torch.cat([rows, rho.unsqueeze(1)], 1)
            upper = self._triangle(block if upper is None else torch.cat([upper, block]))
        assert upper is not None
        size = upper.shape[1] - 1
        self._upper = upper[:size]  # the last row, if there is one, holds what no step can remove
        self._matrix = self._upper[:, :size]
        self.columns = self._matrix.square().sum(0)
        self.floor = torch.finfo(upper.dtype).eps ** 2

    def factor(self, damping: float, scale: Tensor) -> bool:
        """R of the upper triangle over the damping."""
        size = len(scale)
        below = torch.zeros(size, size + 1, dtype=scale.dtype, device=scale.device)
        below.diagonal().copy_(scale * damping**0.5)
        triangle = self._triangle(torch.cat([self._upper, below]))[:size]
        self._damped, self._right = triangle[:, :size], triangle[:, size:]
        return bool((self._damped.diagonal() != 0.0).all())

    def step(self) -> tuple[Tensor, float]:
        """Backward substitution."""
        delta = torch.linalg.solve_triangular(self._damped, self._right, upper=True).neg_()
        return delta.squeeze(1), float((self._matrix @ delta).square().sum())

    def correct(self, right: Tensor) -> Tensor:
        """Two substitutions with the damped triangle, the semi-normal equations."""
        half = torch.linalg.solve_triangular(self._damped.T, right.unsqueeze(1), upper=False)
        return torch.linalg.solve_triangular(self._damped, half, upper=True).squeeze(1)

    def _triangle(self, block: Tensor) -> Tensor:
        rows, columns = block.shape
        short = min(rows, columns)
        self.flops += 2.0 * short * short * (max(rows, columns) - short / 3.0)
        return torch.linalg.qr(block, mode="r")[1]


class NormalSolver:
    """By the normal equations; see the module."""

    def __init__(self, pieces: Pieces) -> None:
        self.flops = 0.0
        matrix: Tensor | None = None
        for rho, rows in pieces:
            self.flops += 2.0 * rows.numel() * rows.shape[1]
            gram, right = rows.T @ rows, rows.T @ rho
            matrix, self._right = (gram, right) if matrix is None else (matrix.add_(gram), self._right.add_(right))
        assert matrix is not None
        self._matrix = matrix
        self.columns = matrix.diagonal().clone()
        self.floor = len(matrix) * torch.finfo(matrix.dtype).eps

    def factor(self, damping: float, scale: Tensor) -> bool:
        """Cholesky of the damped matrix."""
        self.flops += len(scale) ** 3 / 3.0
        damped = self._matrix.clone()
        damped.diagonal().add_(scale * scale * damping)
        self._lower, failed = torch.linalg.cholesky_ex(damped)
        return not bool(failed)

    def step(self) -> tuple[Tensor, float]:
        """Two substitutions."""
        delta = self.correct(self._right).neg_()
        return delta, max(float(delta @ (self._matrix @ delta)), 0.0)

    def correct(self, right: Tensor) -> Tensor:
        """Two substitutions."""
        return torch.cholesky_solve(right.unsqueeze(1), self._lower).squeeze(1)


class DualSolver:
    """In the space of the residuals; see the module."""

    def __init__(self, pieces: Pieces) -> None:
        rhos, rows = zip(*pieces, strict=True)
        self._rho, self._jacobian = torch.cat(rhos), torch.cat(rows)
        self.columns = self._jacobian.square().sum(0)
        self.floor = len(self._rho) * torch.finfo(self._rho.dtype).eps
        self.flops = 0.0
        self._scaled: Tensor | None = None

    def factor(self, damping: float, scale: Tensor) -> bool:
        """Cholesky of the damped kernel; the kernel is made once a point, as D is the point's."""
        if self._scaled is None:
            self._inverse = scale.square().reciprocal()
            self._scaled = self._jacobian * self._inverse
            self._kernel = self._jacobian @ self._scaled.T
            self.flops += 2.0 * self._jacobian.numel() * len(self._rho)
        self.flops += len(self._rho) ** 3 / 3.0
        self._damping = damping
        damped = self._kernel.clone()
        damped.diagonal().add_(damping)
        self._lower, failed = torch.linalg.cholesky_ex(damped)
        return not bool(failed)

    def step(self) -> tuple[Tensor, float]:
        r""":math:`-D^{-2} J^T (K + \lambda I)^{-1} \rho`."""
        assert self._scaled is not None
        y = self._solve(self._rho)
        return (self._scaled.T @ y).neg_(), float((self._kernel @ y).square().sum())

    def correct(self, right: Tensor) -> Tensor:
        r"""Woodbury: :math:`(v - D^{-2} J^T (K + \lambda I)^{-1} J v) / \lambda` with :math:`v = D^{-2}` times ``right``."""
        assert self._scaled is not None
        v = self._inverse * right
        return (v - self._scaled.T @ self._solve(self._jacobian @ v)) / self._damping

    def _solve(self, right: Tensor) -> Tensor:
        return torch.cholesky_solve(right.unsqueeze(1), self._lower).squeeze(1)


_SOLVERS: dict[str, Callable[[Pieces], DampedSolver]] = {"qr": OrthogonalSolver, "normal": NormalSolver, "dual": DualSolver}


def make_solver(pieces: Pieces, name: str, *, keep: bool = False) -> tuple[DampedSolver, Piece | None]:
    """A solver by name, and all pieces as one if they are to be kept.

    Args:
        pieces: Residuals with rows of the Jacobian.
        name: ``"qr"``, ``"normal"`` or ``"dual"``; ``"auto"`` for the dual where it is the smaller one, else the normal
            equations.
        keep: Whether to return residuals and Jacobian.
    """
    if keep:
        held = list(pieces)
        whole = (torch.cat([rho for rho, _ in held]), torch.cat([rows for _, rows in held]))
        return make_solver([whole], name)[0], whole
    if name == "auto":
        pieces = iter(pieces)
        held, rows = _until_tall(pieces)
        pieces = itertools.chain(held, pieces)
        name = "normal" if rows >= held[0][1].shape[1] else "dual"
    return _SOLVERS[name](pieces), None


def _until_tall(pieces: Pieces) -> tuple[list[Piece], int]:
    """Pieces until there are as many rows as columns, or no more pieces; and the number of these rows."""
    held, rows = [], 0
    for rho, piece in pieces:
        held.append((rho, piece))
        rows += len(piece)
        if rows >= piece.shape[1]:
            break
    return held, rows
