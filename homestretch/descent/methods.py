"""The methods of the convex phase as torch optimizers: each is a Descent with its direction."""

from __future__ import annotations

from typing import Any

from homestretch.descent.loop import Descent
from homestretch.directions.betas import Beta
from homestretch.directions.conjugate_gradient import ConjugateGradientDirection
from homestretch.directions.lbfgs import LBFGSDirection
from homestretch.directions.self_scaled_broyden import SelfScaledBroydenDirection
from homestretch.line import Search
from homestretch.searches.hager_zhang import HagerZhang


class ConjugateGradient(Descent):
    """Nonlinear conjugate gradients.

    Example:
        >>> optimizer = ConjugateGradient(model.parameters())
        >>> for _ in range(100):
        ...     loss = optimizer.step(closure)

    Args:
        params: Parameters, groups of them or named parameters.
        beta: A name or a function; see :class:`~homestretch.directions.conjugate_gradient.ConjugateGradientDirection`.
        search: The line search; by default Hager-Zhang's with a tighter curvature condition than quasi-Newton methods need.
        restart_every: Iterations between forced restarts; ``None`` for the number of parameters.
        powell: Powell's restart threshold; ``None`` for none.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances, preconditioner.
    """

    def __init__(
        self,
        params: Any,
        beta: str | Beta = "hager-zhang",
        search: Search | None = None,
        *,
        restart_every: int | None = None,
        powell: float | None = None,
        **options: Any,
    ) -> None:
        direction = ConjugateGradientDirection(beta, restart_every=restart_every, powell=powell)
        super().__init__(params, direction, search or HagerZhang(), **options)


class LBFGS(Descent):
    """Limited-memory BFGS with a line search that never fails silently.

    Args:
        params: Parameters, groups of them or named parameters.
        memory: Number of pairs kept; two vectors each.
        search: The line search; Hager-Zhang's by default.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances, preconditioner.
    """

    def __init__(self, params: Any, memory: int = 50, search: Search | None = None, **options: Any) -> None:
        super().__init__(params, LBFGSDirection(memory), search or HagerZhang(), **options)


class SelfScaledBroyden(Descent):
    """Self-scaled Broyden, self-scaled BFGS or BFGS with a dense inverse Hessian, for up to some 6,000 parameters.

    Args:
        params: Parameters, groups of them or named parameters.
        variant: ``"ssbroyden"``, ``"ssbfgs"`` or ``"bfgs"``; see
            :class:`~homestretch.directions.self_scaled_broyden.SelfScaledBroydenDirection`.
        search: The line search; Hager-Zhang's by default.
        initial: What H is before the first update: ``"scaled"`` or ``"identity"``.
        max_parameters: More parameters than this are refused.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances, preconditioner.
    """

    def __init__(
        self,
        params: Any,
        variant: str = "ssbroyden",
        search: Search | None = None,
        *,
        initial: str = "scaled",
        max_parameters: int = 6000,
        **options: Any,
    ) -> None:
        direction = SelfScaledBroydenDirection(variant, initial=initial, max_parameters=max_parameters)
        super().__init__(params, direction, search or HagerZhang(), **options)
        direction.check(self.parameters)
