r"""Limited-memory BFGS in its compact form.

With the last m pairs :math:`S = [s_1 .. s_m]`, :math:`Y = [y_1 .. y_m]`, :math:`H_0 = \gamma M^{-1}`, the upper triangle R of
:math:`S^T Y` and its diagonal D, the inverse Hessian approximation is (Byrd, Nocedal, Schnabel, "Representations of
quasi-Newton matrices and their use in limited memory methods", Math. Prog. 63 (1994), theorem 2.2)

.. math:: H = H_0 + [S, H_0 Y]
          \begin{bmatrix} R^{-T} (D + Y^T H_0 Y) R^{-1} & -R^{-T} \\ -R^{-1} & 0 \end{bmatrix}
          \begin{bmatrix} S^T \\ Y^T H_0 \end{bmatrix}.

It equals the two-loop recursion (Nocedal, 1980) but needs two passes over the stacked pairs instead of 4m vector
operations, and all its inner products fit one all-reduce. The small matrices are kept in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.directions.renewal import goes_downhill
from homestretch.preconditioners import apply
from homestretch.vectors import Vector

_COSINE = 8.0  # a pair is kept if the cosine of s and y is above this times the rounding unit: below it may be rounding


class LBFGSDirection:
    """Limited-memory BFGS, started from a preconditioner.

    Args:
        memory: Number of pairs kept.

    Raises:
        ValueError: If ``memory`` is not positive.
    """

    name = "lbfgs"

    def __init__(self, memory: int = 50) -> None:
        if memory < 1:
            raise ValueError(f"memory must be a positive number of pairs, got {memory}")
        self._size = memory

    def bind(self, memory: Memory) -> None:
        """Allocate the stacked pairs, or take over loaded ones."""
        self._memory = memory
        size = self._size
        self._s = [t.view(size, -1) for t in memory.need("s", lambda p: p.new_zeros((size, *p.shape)))]
        self._y = [t.view(size, -1) for t in memory.need("y", lambda p: p.new_zeros((size, *p.shape)))]
        scalars = memory.scalars
        # Chronological small matrices; the stacks themselves are circular, `slots` tells the order.
        self._slots: list[int] = [int(i) for i in scalars.setdefault("slots", [])]
        self._sy = _matrix(scalars.setdefault("sy", []), len(self._slots))
        self._yy = _matrix(scalars.setdefault("yy", []), len(self._slots))

    def flush(self) -> None:
        """Write the small matrices to the memory, as a checkpoint is about to be made."""
        self._memory.scalars.update(slots=list(self._slots), sy=self._sy.tolist(), yy=self._yy.tolist())

    def propose(self, point: Point) -> Proposal:
        """``-H g`` in the compact form; the preconditioned steepest descent while there are no pairs."""
        if not self._slots:
            z = apply(point.inverse_diagonal, point.gradient)
            return Proposal(vectors.negative(z), initial_step(point, z))
        gradient = _flat(point.gradient)
        inverse = None if point.inverse_diagonal is None else _flat(point.inverse_diagonal)
        pg = apply(inverse, gradient)
        products = _products(((self._s, gradient), (self._y, pg)), point)
        sg, yg = (p[self._slots] for p in products)
        diagonal = self._sy.diagonal()
        scale = float(diagonal[-1] / self._yy[-1, -1])
        upper = self._sy.triu()
        u = _solve(upper, sg)
        c = _solve(upper.mT, diagonal * u + scale * (self._yy @ u - yg), lower=True)
        return Proposal(self._combine(gradient, inverse, u, c, scale, point), 1.0, scaled=True)

    def accept(self, step: Step, point: Point) -> None:
        """Store the newest pair in place of the oldest, if its curvature is positive."""
        y = _flat(step.gradient_before)
        vectors.scale_(y, -1.0)
        vectors.add_(y, _flat(step.gradient_after))
        inverse = None if point.inverse_diagonal is None else _flat(point.inverse_diagonal)
        py = apply(inverse, y)
        direction = _flat(step.direction)
        dy, dd, yy = point.dots((direction, y), (direction, direction), (y, y))
        if not _COSINE * vectors.working_eps(y[0].dtype) * math.sqrt(dd * yy) < dy < math.inf:
            return  # a cosine has no units: sy / yy would tell pairs apart by the scale of the loss
        slot = self._slots.pop(0) if len(self._slots) == self._size else len(self._slots)
        if len(self._sy) == self._size:
            self._sy, self._yy = self._sy[1:, 1:], self._yy[1:, 1:]
        self._slots.append(slot)
        for i in range(len(y)):
            torch.mul(direction[i], step.length, out=self._s[i][slot])
            self._y[i][slot].copy_(y[i])
        column_sy, column_yy = (p[self._slots] for p in _products(((self._s, y), (self._y, py)), point))
        self._sy = _bordered(self._sy, column_sy, torch.zeros_like(column_sy))
        self._yy = _bordered(self._yy, column_yy, column_yy)

    def reject(self, step: Step, point: Point) -> bool:
        """Forget the pairs; without any there is nothing more to propose."""
        had_pairs = bool(self._slots)
        self.reset()
        return had_pairs

    def renew(self, point: Point) -> str:
        """Keep the pairs, whose curvature a changed function mostly shares, if what they make passes for positive definite."""
        pairs = len(self._slots)
        if not pairs:
            return "there are no pairs yet"
        if bool((self._sy.diagonal() > 0.0).all()) and goes_downhill(point, self.propose(point).vector):
            return f"the {pairs} pairs are kept, they make a positive definite matrix"
        self.reset()
        return f"the {pairs} pairs are dropped, their matrix is not positive definite to rounding"

    def reset(self) -> None:
        """Forget the pairs."""
        self._slots, self._sy, self._yy = [], _matrix([], 0), _matrix([], 0)

    def _combine(self, gradient: Vector, inverse: Vector | None, u: Tensor, c: Tensor, scale: float, point: Point) -> Vector:
        r""":math:`-\gamma M^{-1} (g - Y u) - S c`, tensor by tensor."""
        full_u, full_c = (
            torch.zeros(self._size, dtype=torch.float64).index_put_((torch.tensor(self._slots),), v) for v in (u, c)
        )
        result = []
        for i, g in enumerate(gradient):
            weights_u, weights_c = full_u.to(g.device, g.dtype), full_c.to(g.device, g.dtype)
            r = torch.addmv(g, self._y[i].mT, weights_u, beta=-scale, alpha=scale)
            r = r if inverse is None else r.mul_(inverse[i])
            result.append(r.addmv_(self._s[i].mT, weights_c, alpha=-1.0).view(point.gradient[i].shape))
        return result


def _flat(vector: Sequence[Tensor]) -> Vector:
    return [t.view(-1) if t.is_contiguous() else t.reshape(-1) for t in vector]


def _products(pairs: Sequence[tuple[Vector, Vector]], point: Point) -> list[Tensor]:
    """``stack @ vector`` summed over tensors and ranks, in float64 on the host, all in one all-reduce."""
    sums = []
    for stack, vector in pairs:
        parts = [torch.mv(a, v).to("cpu", torch.float64) for a, v in zip(stack, vector, strict=True)]
        sums.append(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0])
    return list(vectors.sum_over_ranks(torch.stack(sums), point.groups, point.gradient))


def _solve(matrix: Tensor, right: Tensor, *, lower: bool = False) -> Tensor:
    return torch.linalg.solve_triangular(matrix, right.unsqueeze(1), upper=not lower).squeeze(1)


def _matrix(rows: list[list[float]], size: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(size, size)


def _bordered(matrix: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """``matrix`` with one more column and row; their common last entry is the column's."""
    n = len(matrix)
    grown = matrix.new_empty(n + 1, n + 1)
    grown[:n, :n] = matrix
    grown[n, :] = row
    grown[:, n] = column
    return grown
