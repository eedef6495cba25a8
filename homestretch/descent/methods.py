"""The methods of the convex phase as torch optimizers: each is a Descent with its direction."""

from __future__ import annotations

from typing import Any

from homestretch.descent.loop import Descent
from homestretch.directions.betas import Beta
from homestretch.directions.conjugate_gradient import ConjugateGradientDirection
from homestretch.directions.gauss_newton_cg import GaussNewtonCGDirection
from homestretch.directions.lbfgs import LBFGSDirection
from homestretch.directions.levenberg_marquardt import LevenbergMarquardtDirection
from homestretch.directions.newton_cg import NewtonCGDirection
from homestretch.directions.nystrom import NystromPreconditioner
from homestretch.directions.self_scaled_broyden import SelfScaledBroydenDirection
from homestretch.line import Search
from homestretch.searches.hager_zhang import HagerZhang
from homestretch.searches.unit import Unit

# What those who come from torch.optim.LBFGS take for granted, and what stands in its place.
_TORCHS = {
    "lr": "leave it out, as the search finds the step",
    "max_iter": "give minimize(closure, iterations=...)",
    "max_eval": "give budget=..., in passes over the data",
    "tolerance_grad": "give gradient_tolerance=..., relative to the first gradient, or leave it out",
    "tolerance_change": "leave it out, as a method stops only where it finds no lower loss",
    "history_size": "give memory=...",
    "line_search_fn": "leave it out for Hager-Zhang's search, or give search=StrongWolfe()",
}


class ConjugateGradient(Descent):
    """Nonlinear conjugate gradients.

    Example:
        >>> optimizer = ConjugateGradient(model.parameters())
        >>> for _ in range(100):
        ...     loss = optimizer.step(closure)

    Args:
        params: Parameters, groups of them or named parameters.
        beta: A name or a function; see :class:`~homestretch.directions.conjugate_gradient.ConjugateGradientDirection`.
        search: The line search; Hager-Zhang's by default.
        restart_every: Iterations between forced restarts; ``None`` for six times the number of parameters.
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

    Raises:
        TypeError: If an argument of ``torch.optim.LBFGS`` is given, with what stands in its place here.
    """

    def __init__(self, params: Any, memory: int = 50, search: Search | None = None, **options: Any) -> None:
        for name in options.keys() & _TORCHS.keys():
            raise TypeError(f"{name} is an argument of torch.optim.LBFGS; for homestretch.LBFGS {_TORCHS[name]}")
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


class NewtonCG(Descent):
    """Truncated Newton steps by conjugate gradients, with a line search or within a trust region.

    Takes Hessian products from an ``Objective`` or a ``LeastSquares``; for a plain closure they are made of differences of
    its gradients, at twice a gradient's price.

    Args:
        params: Parameters, groups of them or named parameters.
        search: The search along the step; by default Hager-Zhang's, and within a trust region the step is taken or the radius
            cut.
        max_products: Hessian products in one iteration.
        damping: What is added to the Hessian's diagonal.
        trust_radius: First radius of a trust region; ``None`` for a line search.
        follow: Go along directions of negative curvature; see
            :class:`~homestretch.directions.newton_cg.NewtonCGDirection`.
        nystrom: A low-rank preconditioner made of Hessian products; see
            :class:`~homestretch.directions.nystrom.NystromPreconditioner`.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances, preconditioner.
    """

    def __init__(
        self,
        params: Any,
        search: Search | None = None,
        *,
        max_products: int = 200,
        damping: float = 0.0,
        trust_radius: float | None = None,
        follow: bool = True,
        nystrom: NystromPreconditioner | None = None,
        **options: Any,
    ) -> None:
        direction = NewtonCGDirection(
            max_products=max_products, damping=damping, trust_radius=trust_radius, follow=follow, nystrom=nystrom
        )
        super().__init__(params, direction, search or (HagerZhang() if trust_radius is None else Unit()), **options)
        direction.check(self.parameters)


class GaussNewtonCG(Descent):
    """Gauss-Newton steps by truncated conjugate gradients, damped by the gain ratio.

    For losses that are convex in the model's outputs and for sums of squares; needs an ``Objective`` or a ``LeastSquares``
    in place of a closure, for its products.

    Args:
        params: Parameters, groups of them or named parameters.
        search: The search along the step; by default the step is taken, or damped further. A line search works too.
        damping: First damping, relative to the curvature along the first gradient.
        max_products: Gauss-Newton products in one iteration.
        progress: Relative progress of the model at which they end; 0 never.
        curvature_samples: Samples that the curvature is taken over; ``None`` for all.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances, preconditioner.
    """

    def __init__(
        self,
        params: Any,
        search: Search | None = None,
        *,
        damping: float = 1e-2,
        max_products: int = 100,
        progress: float = 5e-4,
        curvature_samples: int | None = None,
        **options: Any,
    ) -> None:
        _refuse_maximize(options, "GaussNewtonCG")
        direction = GaussNewtonCGDirection(
            damping=damping, max_products=max_products, progress=progress, curvature_samples=curvature_samples
        )
        super().__init__(params, direction, search or Unit(), **options)


class LevenbergMarquardt(Descent):
    """Dense Levenberg-Marquardt with geodesic acceleration, for sums of squares of up to some 5,000 parameters or residuals.

    Needs a ``LeastSquares`` in place of a closure, for its residuals and their Jacobian.

    Args:
        params: Parameters, groups of them or named parameters.
        damping: First damping, relative to the largest squared norm of a scaled column of the Jacobian.
        solver: ``"auto"``, ``"normal"``, ``"qr"`` or ``"dual"``.
        scale: ``"columns"`` or ``"identity"``; see
            :class:`~homestretch.directions.levenberg_marquardt.LevenbergMarquardtDirection`.
        geodesic: Whether steps bend with the residuals' second derivative.
        options: Passed to :class:`~homestretch.descent.loop.Descent`: budgets, tolerances.
    """

    def __init__(
        self,
        params: Any,
        *,
        damping: float = 1e-3,
        solver: str = "auto",
        scale: str = "columns",
        geodesic: bool = True,
        **options: Any,
    ) -> None:
        _refuse_maximize(options, "LevenbergMarquardt")
        direction = LevenbergMarquardtDirection(damping=damping, solver=solver, scale=scale, geodesic=geodesic)
        super().__init__(params, direction, Unit(), **options)


def _refuse_maximize(options: dict[str, Any], method: str) -> None:
    if options.get("maximize"):
        raise ValueError(
            f"maximize: {method} descends by a matrix that is positive semidefinite for sums of squares and for losses "
            "convex in the outputs, and their negatives are neither. Use NewtonCG or LBFGS to maximise"
        )
