r"""Nonlinear conjugate gradients: :math:`d_{k+1} = -M^{-1} g_{k+1} + \beta_k d_k`.

Sources: R. Fletcher, C. Reeves (1964); E. Polak, G. Ribiere (1969); M. Powell, "Restart procedures for the conjugate
gradient method", Math. Prog. 12 (1977); the formulas for beta are in :mod:`homestretch.directions.betas`.
"""

from __future__ import annotations

import math

from homestretch import arguments, vectors
from homestretch.directions.base import Memory, Point, Proposal, Step
from homestretch.directions.betas import BETAS, Beta, BetaTerms
from homestretch.preconditioners import apply
from homestretch.vectors import Vector

_RESTART = 6  # iterations between forced restarts, in numbers of parameters


class ConjugateGradientDirection:
    """Nonlinear conjugate gradients with any beta, preconditioned.

    Args:
        beta: A name from :data:`~homestretch.directions.betas.BETAS` or a function of
            :class:`~homestretch.directions.betas.BetaTerms`.
        restart_every: Restart after this many iterations; ``None`` for six times the number of parameters, as CG_DESCENT does.
            Theory has it at that number itself, for n-step convergence; with inexact searches that was measured to cost
            half as much again over the standard test functions, and badly scaled problems of few parameters stay unsolved.
        powell: Restart when ``|<g_new, M^-1 g_old>| >= powell * <g_new, M^-1 g_new>`` (Powell, 1977, takes 0.2);
            ``None`` never.

    Raises:
        ValueError: If a name is unknown or a number is out of range.
    """

    name = "conjugate-gradient"

    def __init__(
        self, beta: str | Beta = "hager-zhang", *, restart_every: int | None = None, powell: float | None = None
    ) -> None:
        if beta not in BETAS if isinstance(beta, str) else not callable(beta):
            raise ValueError(f"beta must be a function or one of {', '.join(BETAS)}, got {beta!r}")
        if powell is not None and not powell > 0.0:
            raise ValueError(f"powell must be positive, got {powell}")
        self._beta = BETAS[beta] if isinstance(beta, str) else beta
        self._restart_every = None if restart_every is None else arguments.count("restart_every", restart_every)
        self._powell = powell

    def bind(self, memory: Memory) -> None:
        """Allocate the one vector that is kept between iterations, the direction."""
        self._memory = memory
        self._direction = memory.need("direction", lambda p: p.clone().zero_())
        memory.scalars.setdefault("beta", 0.0)
        memory.scalars.setdefault("restart", "first iteration")
        memory.scalars.setdefault("since_restart", 0)
        memory.scalars.setdefault("next_step", 0.0)
        memory.scalars.setdefault("last_slope", 0.0)

    def flush(self) -> None:
        """All scalars are in the memory already."""

    def propose(self, point: Point) -> Proposal:
        """The next conjugate direction, or the preconditioned steepest descent after a restart."""
        scalars = self._memory.scalars
        z = apply(point.inverse_diagonal, point.gradient)
        beta, restart = float(scalars["beta"]), str(scalars["restart"])
        slope = gz = square = 0.0
        if not restart:
            vectors.scale_(self._direction, beta)
            vectors.add_(self._direction, z, -1.0)
            d = self._direction
            slope, gz, square = point.dots((point.gradient, d), (point.gradient, z), (d, d))
            if not slope < 0.0:
                restart = "the conjugate direction did not go downhill"
        if restart:
            beta = 0.0
            vectors.copy_(self._direction, vectors.negative(z))
            gz, square = point.dots((point.gradient, z), (z, z))
            slope = -gz
        scalars["since_restart"] = 1 if restart else int(scalars["since_restart"]) + 1
        scalars["restart"] = ""
        scalars["gz"] = gz
        first_step = self._first_step(point, slope, z)
        length = math.sqrt(square)
        return Proposal(self._direction, first_step, slope=slope, length=length, restart=restart, extra={"beta": beta})

    def accept(self, step: Step, point: Point) -> None:
        """Compute beta for the next direction while both gradients are at hand."""
        scalars = self._memory.scalars
        scalars["next_step"] = step.length
        scalars["last_slope"] = step.slope_before
        y = step.gradient_before
        vectors.scale_(y, -1.0)
        vectors.add_(y, step.gradient_after)  # the old gradient's buffer now holds y
        terms = self._terms(y, step, point)
        scalars["beta"] = beta = self._safe_beta(terms)
        scalars["restart"] = self._why_restart(terms, beta)

    def reject(self, step: Step, point: Point) -> bool:
        """Start afresh, unless this was a fresh start already."""
        fresh = int(self._memory.scalars["since_restart"]) <= 1
        self.reset()
        self._memory.scalars["restart"] = "the search found no step"
        return not fresh

    def renew(self, point: Point) -> str:
        """Old and new gradients belong to different functions: start afresh, keep the step length."""
        self._memory.scalars["restart"] = "the function changed"
        return "the direction is started afresh, the step length is kept"

    def reset(self) -> None:
        """Forget the direction."""
        self._memory.scalars["restart"] = "reset"
        self._memory.scalars["next_step"] = 0.0

    def _terms(self, y: Vector, step: Step, point: Point) -> BetaTerms:
        z = apply(point.inverse_diagonal, step.gradient_after)
        d = step.direction
        py = y if point.inverse_diagonal is None else vectors.multiply(point.inverse_diagonal, y)
        md = d if point.inverse_diagonal is None else _divide(d, point.inverse_diagonal)
        gz, yz, yy, dy, dd = point.dots((step.gradient_after, z), (y, z), (y, py), (d, y), (d, md))
        gz_old = float(self._memory.scalars["gz"])
        return BetaTerms(gz, gz_old, yz, yy, dy, step.slope_after, step.slope_before, dd)

    def _safe_beta(self, terms: BetaTerms) -> float:
        try:
            beta = float(self._beta(terms))
        except ZeroDivisionError:
            return math.nan
        return beta

    def _why_restart(self, terms: BetaTerms, beta: float) -> str:
        if not math.isfinite(beta):
            return "beta is not finite"
        # of all parameters, those of other ranks included: a restart on one rank alone would part them
        limit = self._restart_every or _RESTART * vectors.size(self._memory.parameters)
        if int(self._memory.scalars["since_restart"]) >= limit:
            return f"{limit} iterations since the last restart"
        if self._powell is not None and abs(terms.gz - terms.yz) >= self._powell * terms.gz:
            return "successive gradients are far from orthogonal (Powell)"
        return ""

    def _first_step(self, point: Point, slope: float, z: Vector) -> float:
        """The last step, for the same first-order change of the loss (Nocedal and Wright, 2006, 3.60)."""
        scalars = self._memory.scalars
        last = float(scalars["next_step"])
        if last > 0.0:
            ratio = float(scalars["last_slope"]) / slope
            return last * min(max(ratio, 1e-3), 1e3)
        return initial_step(point, z)


def initial_step(point: Point, z: Vector) -> float:
    """Rule I0 of Hager and Zhang (2006): 1 % of the size of the parameters, or of the loss over its slope."""
    largest = vectors.max_abs(point.parameters, point.groups)
    steepest = vectors.max_abs(z, point.groups)
    if largest > 0.0 and steepest > 0.0:
        return 0.01 * largest / steepest
    (gz,) = point.dots((point.gradient, z))
    return 0.01 * abs(point.loss) / gz if point.loss != 0.0 and gz > 0.0 else 1.0


def _divide(a: Vector, b: Vector) -> Vector:
    return [x / y for x, y in zip(a, b, strict=True)]
