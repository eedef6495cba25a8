r"""BFGS, self-scaled BFGS and self-scaled Broyden with a dense inverse Hessian :math:`H = J J^T`.

The direction is :math:`-J (J^T g)`; formulas and sources of the updates are in
:mod:`homestretch.directions.broyden_updates`. The first H is the preconditioner's inverse, scaled by the first step (J.
Nocedal, S. Wright, 2006, equation 6.20).

The scaling :math:`1/\tau \ge 1` leaves H larger than the function's inverse Hessian, so that a step of 1 is mostly too long:
on least squares of networks the loss along the direction is lowest near a third of it, and a search that begins at 1 pays a
second evaluation to find out. The first step is therefore the mean of where past lines had their minimum
(:func:`next_first_step`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.broyden_updates import VARIANTS, update_root_
from homestretch.directions.conjugate_gradient import initial_step
from homestretch.directions.renewal import goes_downhill
from homestretch.errors import UnsupportedError
from homestretch.preconditioners import apply

INITIAL = ("scaled", "identity")
MAX_PARAMETERS = 6000

_MEMORY = 0.8  # of the mean over past lines' minima
_REACH = 4.0  # a line's minimum is not sought farther than this times the step, nor than this inverse of it


class SelfScaledBroydenDirection:
    """Dense quasi-Newton: ``-H g`` with H from the self-scaling Broyden class.

    J has one row and one column a parameter, so its memory and the arithmetic of an update grow with the square of their
    number: at 5,000 parameters 200 MB in float64, and six passes over them an iteration.

    Args:
        variant: ``"ssbroyden"``, ``"ssbfgs"`` or ``"bfgs"``.
        initial: H before the first update: ``"scaled"`` for the preconditioner's inverse (the identity without one) times
            ``<s, y> / <y, M^-1 y>`` of the first step, ``"identity"`` for the same without that factor.
        max_parameters: More parameters than this are refused.

    Raises:
        ValueError: If a name is unknown or ``max_parameters`` is not positive.
    """

    def __init__(self, variant: str = "ssbroyden", *, initial: str = "scaled", max_parameters: int = MAX_PARAMETERS) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if initial not in INITIAL:
            raise ValueError(f"initial must be one of {', '.join(INITIAL)}, got {initial!r}")
        if max_parameters < 1:
            raise ValueError(f"max_parameters must be positive, got {max_parameters}")
        self.name = variant
        self._initial = initial
        self._max_parameters = max_parameters

    @property
    def inverse_hessian(self) -> Tensor:
        """H as a new matrix, its rows and columns in the order of the packed parameters."""
        return self._root @ self._root.T

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
                f"{self.name} keeps a dense matrix with a row for each parameter, at most {self._max_parameters}, got {n}: use "
                "LBFGS, or raise max_parameters if the memory is there"
            )
        if len({(p.device, p.dtype) for p in parameters}) > 1:
            raise ValueError(f"{self.name} needs all parameters on one device and of one dtype: use LBFGS or ConjugateGradient")

    def bind(self, memory: Memory) -> None:
        """Allocate J, or assemble it from loaded rows. The memory holds views of its rows, a block for each parameter."""
        self.check(memory.parameters)
        self._memory = memory
        local = vectors.locals_of(memory.parameters)
        n = vectors.size(local)
        rows = memory.get("rows")
        self._root = local[0].new_zeros((n, n)) if rows is None else torch.cat(rows)
        memory.set("rows", self._root.split([t.numel() for t in local]))
        memory.scalars.setdefault("updates", 0)
        memory.scalars.setdefault("tau", 1.0)
        memory.scalars.setdefault("theta", 0.0)
        memory.scalars.setdefault("first_step", 1.0)

    def flush(self) -> None:
        """Everything is in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """``-J J' g``; the preconditioned steepest descent while H is unknown."""
        scalars = self._memory.scalars
        restart = ""
        if int(scalars["updates"]):
            gradient = vectors.pack(point.gradient)
            self._pulled = torch.mv(self._root.T, gradient)
            direction = torch.mv(self._root, self._pulled).neg_()
            slope, square = point.dots(([gradient], [direction]), ([direction], [direction]))
            if slope < 0.0:
                extra = {"tau": float(scalars["tau"]), "theta": float(scalars["theta"])}
                first = float(scalars["first_step"])
                vector = vectors.unpack(direction, point.gradient)
                return Proposal(vector, first, scaled=True, slope=slope, length=math.sqrt(square), extra=extra)
            self.reset()
            restart = "the inverse Hessian's direction does not go downhill"
        z = apply(point.inverse_diagonal, point.gradient)
        return Proposal(vectors.negative(z), initial_step(point, z), restart=restart)

    def accept(self, step: Step, point: Point) -> None:
        """Update J with the newest pair, if its curvature is positive."""
        s = vectors.pack(step.direction).mul_(step.length)
        y = vectors.pack(step.gradient_after) - vectors.pack(step.gradient_before)
        sy, ss, yy = point.dots(([s], [y]), ([s], [s]), ([y], [y]))
        if not vectors.working_eps(y.dtype) * math.sqrt(ss * yy) < sy < math.inf:
            return
        scalars = self._memory.scalars
        if int(scalars["updates"]):
            scalars["first_step"] = next_first_step(float(scalars["first_step"]), step)
            r = self._pulled.mul(-step.length)  # s = -length J J'g, so J^-1 s needs no solve
        else:
            self._start(point, y, sy)
            r = s / self._root.diagonal()
        update = update_root_(self._root, s, y, r, sy, self.name)
        if update is not None:
            scalars.update(updates=int(scalars["updates"]) + 1, tau=update.tau, theta=update.theta)

    def reject(self, step: Step, point: Point) -> bool:
        """Forget H; without it there is nothing more to propose."""
        learned = int(self._memory.scalars["updates"]) > 0
        self.reset()
        return learned

    def renew(self, point: Point) -> str:
        """Keep H, which a changed function mostly shares, if it passes for positive definite."""
        if not int(self._memory.scalars["updates"]):
            return "there is no inverse Hessian yet"
        pulled = torch.mv(self._root.T, vectors.pack(point.gradient))
        if goes_downhill(point, vectors.unpack(torch.mv(self._root, pulled).neg_(), point.gradient)):
            return "the inverse Hessian is kept, it is positive definite"
        self.reset()
        return "the inverse Hessian is rebuilt, it is not positive definite to rounding"

    def reset(self) -> None:
        """Forget H."""
        self._memory.scalars.update(updates=0, first_step=1.0)

    def _start(self, point: Point, y: Tensor, sy: float) -> None:
        """Set J to the root of the initial matrix."""
        inverse = torch.ones_like(y) if point.inverse_diagonal is None else vectors.pack(point.inverse_diagonal)
        scale = 1.0
        if self._initial == "scaled":
            (ypy,) = point.dots(([y], [inverse * y]))
            scale = sy / ypy
        self._root.zero_()
        # not in place: packed from a single parameter it is the preconditioner itself
        torch.sqrt(inverse * scale, out=self._root.diagonal())


def next_first_step(known: float, step: Step) -> float:
    r"""Where the search of the next iteration begins.

    The slopes at both ends of an accepted step :math:`a` put the line's minimum at :math:`a^* = a\, \phi'(0) / (\phi'(0) -
    \phi'(a))`. The first step is the geometric mean of these minima, older ones fading by 0.8 an iteration, and at most 1. On a
    quadratic whose H is exact every :math:`a^*` is 1, so that the step of 1 that superlinear convergence asks for comes back.
    Taking the mean of the accepted steps instead would never leave a short one that a loose search keeps accepting.

    Args:
        known: The first step so far, in (0, 1].
        step: What was accepted.
    """
    bend = step.slope_before - step.slope_after
    share = min(max(step.slope_before / bend, 1.0 / _REACH), _REACH) if bend < 0.0 else _REACH
    return min(1.0, known**_MEMORY * (step.length * share) ** (1.0 - _MEMORY))
