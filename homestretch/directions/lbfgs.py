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

import torch
from torch import Tensor

from homestretch import arguments, vectors
from homestretch.blocks import Blocks
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
        self._size = arguments.count("memory", memory)

    def bind(self, memory: Memory) -> None:
        """Allocate the stacked pairs, or take over loaded ones. The memory holds views of them, a stack for each parameter.

        Raises:
            ValueError: If the loaded ones are more or fewer than this method keeps.
        """
        self._memory = memory
        self._blocks = Blocks(vectors.locals_of(memory.parameters))
        self._s, self._y = self._stack("s"), self._stack("y")
        scalars = memory.scalars
        # The small matrices are in order of time; the stacks are circular, with the oldest pair at `oldest`.
        self._oldest = int(scalars.setdefault("oldest", 0))
        self._small = _small(scalars.setdefault("small", []))
        self._note_scale()

    def flush(self) -> None:
        """Write the small matrices to the memory, as a checkpoint is about to be made."""
        self._memory.scalars.update(oldest=self._oldest, small=self._small.tolist())

    def propose(self, point: Point) -> Proposal:
        """``-H g`` in the compact form; the preconditioned steepest descent while there are no pairs."""
        if not self._count:
            z = apply(point.inverse_diagonal, point.gradient)
            return Proposal(vectors.negative(z), initial_step(point, z))
        gradient = self._blocks.pack(point.gradient)
        inverse = self._inverse(point)
        sg, yg = self._products(gradient, apply(inverse, gradient), point)
        sy, yy = self._small  # of the first only the upper triangle counts
        u = _solve(sy, sg)
        right = torch.addmv(yg, yy, u, beta=-self._scale, alpha=self._scale).addcmul_(sy.diagonal(), u)
        c = _solve(sy.mT, right, lower=True)
        direction = self._combine(gradient, inverse, u, c)
        slope, square = point.dots((gradient, direction), (direction, direction))  # less work than on lists
        return Proposal(self._blocks.unpack(direction), 1.0, scaled=True, slope=slope, length=math.sqrt(square))

    def accept(self, step: Step, point: Point) -> None:
        """Store the newest pair in place of the oldest, if its curvature is positive."""
        y = vectors.subtract(self._blocks.pack(step.gradient_after), self._blocks.pack(step.gradient_before))
        py = apply(self._inverse(point), y)
        direction = self._blocks.pack(step.direction)
        dy, dd, yy = point.dots((direction, y), (direction, direction), (y, y))
        if not (yy > 0.0 and _COSINE * vectors.working_eps(y[0].dtype) * math.sqrt(dd * yy) < dy < math.inf):
            return  # a cosine has no units: sy / yy would tell pairs apart by the scale of the loss
        slot = self._make_room()
        for i in range(len(y)):
            torch.mul(direction[i], step.length, out=self._s[i][slot])
            self._y[i][slot].copy_(y[i])
        columns = self._products(y, py, point, count=self._count + 1)
        sy, yy = columns[:, -1].tolist()
        if not (0.0 < sy < math.inf and 0.0 < yy < math.inf and sy / yy <= min(torch.finfo(t.dtype).max for t in y)):
            self.reset()  # they or their ratio, by which vectors are scaled, are beyond the range of the dtype, even so
            return
        self._small = _bordered(self._small, columns)
        self._note_scale()

    def reject(self, step: Step, point: Point) -> bool:
        """Forget the pairs; without any there is nothing more to propose."""
        had_pairs = self._count > 0
        self.reset()
        return had_pairs

    def renew(self, point: Point) -> str:
        """Keep the pairs, whose curvature a changed function mostly shares, if what they make passes for positive definite."""
        pairs = self._count
        if not pairs:
            return "there are no pairs yet"
        if bool((self._small[0].diagonal() > 0.0).all()) and goes_downhill(point, self.propose(point).vector):
            return f"the {pairs} pairs are kept, they make a positive definite matrix"
        self.reset()
        return f"the {pairs} pairs are dropped, their matrix is not positive definite to rounding"

    def reset(self) -> None:
        """Forget the pairs."""
        self._oldest, self._small = 0, _small([])
        self._note_scale()

    def _stack(self, name: str) -> list[Tensor]:
        """The blocks of the stack held under ``name``."""
        held = self._memory.get(name)
        if held is not None and len(held[0]) != self._size:
            raise ValueError(
                f"the state holds {len(held[0])} pairs and this L-BFGS keeps {self._size}: make it with that memory"
            )
        blocks = self._blocks.stacks(self._size) if held is None else self._blocks.pack_stack(held)
        self._memory.set(name, self._blocks.unpack_stack(blocks))
        return blocks

    @property
    def _count(self) -> int:
        return self._small.shape[1]

    def _make_room(self) -> int:
        """The slot of the next pair; forgets the oldest pair if there is no other."""
        if self._count < self._size:
            return self._count
        slot, self._oldest = self._oldest, (self._oldest + 1) % self._size
        self._small = self._small[:, 1:, 1:]
        return slot

    def _note_scale(self) -> None:
        r"""Remember :math:`\gamma` of the newest pair."""
        sy, yy = self._small[:, -1, -1].tolist() if self._count else (1.0, 1.0)
        self._scale = sy / yy

    def _inverse(self, point: Point) -> Vector | None:
        return None if point.inverse_diagonal is None else self._blocks.pack(point.inverse_diagonal)

    def _products(self, with_s: Vector, with_y: Vector, point: Point, *, count: int | None = None) -> Tensor:
        """Inner products of one vector with all s, of another with all y: on the host, in order of time, float64 (2, n)."""
        count = self._count if count is None else count
        blocks = zip(self._s, self._y, with_s, with_y, strict=True)
        sums = [torch.stack((_image(s[:count], v), _image(y[:count], w))) for s, y, v, w in blocks]
        total = sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)
        if point.groups:
            total = vectors.sum_over_ranks(total, point.groups, point.gradient)
        return _rolled(total, self._oldest)

    def _combine(self, gradient: Vector, inverse: Vector | None, u: Tensor, c: Tensor) -> Vector:
        r""":math:`-\gamma M^{-1} (g - Y u) - S c`, in blocks."""
        count = self._count
        weights = _rolled(torch.stack((u, c)), count - self._oldest)
        result = []
        for i, g in enumerate(gradient):
            of_y, of_s = weights.to(g.device, g.dtype)
            r = torch.addmv(g, self._y[i][:count].mT, of_y, beta=-self._scale, alpha=self._scale)
            r = r if inverse is None else r.mul_(inverse[i])
            result.append(r.addmv_(self._s[i][:count].mT, of_s, alpha=-1.0))
        return result


def _image(rows: Tensor, vector: Tensor) -> Tensor:
    """``rows @ vector`` on the host in float64; products may leave the range of a shorter dtype."""
    if vector.dtype == torch.float64:
        return torch.mv(rows, vector).cpu()
    exponent = torch.frexp(vector.abs().amax()).exponent  # a power of two changes no digit
    image = torch.mv(rows, torch.ldexp(vector, -exponent))
    return torch.ldexp(image.to("cpu", torch.float64), exponent.cpu())


def _solve(matrix: Tensor, right: Tensor, *, lower: bool = False) -> Tensor:
    return torch.linalg.solve_triangular(matrix, right.unsqueeze(1), upper=not lower).squeeze(1)


def _rolled(rows: Tensor, first: int) -> Tensor:
    """Each row from entry ``first`` on, then what is before it."""
    return rows.roll(-first, dims=1) if 0 < first < rows.shape[1] else rows


def _small(rows: list[list[list[float]]]) -> Tensor:
    """The small matrices, :math:`S^T Y` and :math:`Y^T H Y`, from nested lists."""
    return torch.tensor(rows, dtype=torch.float64) if rows and rows[0] else torch.zeros(2, 0, 0, dtype=torch.float64)


def _bordered(matrices: Tensor, columns: Tensor) -> Tensor:
    """Both matrices with one more column, which is their new last row too."""
    n = matrices.shape[1]
    grown = matrices.new_empty(2, n + 1, n + 1)
    grown[:, :n, :n] = matrices
    grown[:, n] = columns
    grown[:, :, n] = columns
    return grown
