"""What can be known about convexity at a proposed swap for a bounded price, and a verdict on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from homestretch import arguments
from homestretch.convexity.density import SpectralDensity
from homestretch.convexity.lanczos import Product, check_filled, ends, random_start, tridiagonalise
from homestretch.convexity.path import along, secant
from homestretch.cost import HESSIAN_PRODUCT
from homestretch.decision import Decision
from homestretch.memory import Remembering
from homestretch.vectors import Vector


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Curvature at one point.

    Attributes:
        gradient_curvature: Curvature along the gradient, g'Hg / |g|^2.
        step_curvature: Mean curvature along the last step, from the change of the gradient; ``None`` without a last step.
        lambda_min: Smallest Ritz value: not below the smallest eigenvalue of the Hessian.
        lambda_max: Largest Ritz value: not above the largest eigenvalue.
        residual_min: Some eigenvalue lies within this of ``lambda_min``.
        residual_max: Some eigenvalue lies within this of ``lambda_max``.
        negative_fraction: Estimated share of clearly negative eigenvalues, from one random vector: a label, no measurement.
        products: Hessian products used.
        cost: Their price in gradient-equivalents.
    """

    gradient_curvature: float
    step_curvature: float | None
    lambda_min: float
    lambda_max: float
    residual_min: float
    residual_max: float
    negative_fraction: float
    products: int
    cost: float

    def values(self) -> dict[str, float]:
        """The numbers by name, for a record; NaN where one is missing."""
        return {name: math.nan if value is None else float(value) for name, value in asdict(self).items()}


def gather(
    product: Product,
    gradient: Vector,
    *,
    last_step: Sequence[Tensor] | None = None,
    gradient_change: Sequence[Tensor] | None = None,
    products: int = 12,
    price: float = HESSIAN_PRODUCT,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Evidence:
    """Collect the evidence at the current point.

    One Lanczos run from a random vector serves both the extreme eigenvalues and the share of negative ones; it ends early
    when both ends are settled.

    Args:
        product: Products with the Hessian, of all the data or of a sample.
        gradient: Gradient at the point.
        last_step: The last step.
        gradient_change: Change of the gradient over that step, of the same function.
        products: Hessian products at most, the one along the gradient included; at least 3.
        price: Gradient-equivalents a product: less than the default if ``product`` runs over a sample.
        tolerance: Both ends count as settled when their residuals fall below this share of the largest absolute eigenvalue.
        seed: Seed of the random vector.
    """
    if (last_step is None) != (gradient_change is None):
        raise ValueError("give last_step and gradient_change together, or neither")
    check_filled("gradient", gradient)
    limit = int(arguments.at_least("products", products, 3)) - 1
    found = tridiagonalise(
        product, random_start(gradient, seed), limit, lambda run: run.products >= 2 and ends(run, tolerance).converged
    )
    ritz = ends(found, tolerance)
    step = None if last_step is None or gradient_change is None else secant(last_step, gradient_change).rayleigh
    return Evidence(
        gradient_curvature=along(product, gradient).rayleigh,
        step_curvature=step,
        lambda_min=ritz.smallest,
        lambda_max=ritz.largest,
        residual_min=ritz.residual_smallest,
        residual_max=ritz.residual_largest,
        negative_fraction=SpectralDensity.from_runs([found]).negative_fraction().value,
        products=found.products + 1,
        cost=price * (found.products + 1),
    )


@dataclass
class VerdictMemory:
    """How often in a row the evidence was good."""

    times: int = 0


class Verdict(Remembering):
    """Whether the evidence allows a swap: for runs that wait for it instead of only recording it.

    Allowed when the curvature along the gradient is positive and the smallest eigenvalue is no lower than minus ``tolerance``
    times the largest, ``times`` times in a row.

    Args:
        tolerance: Negative curvature that is let pass, as a share of the largest eigenvalue.
        times: How often in a row.
        strict: Count the residual of the smallest eigenvalue against it, for a Lanczos run that has not settled.
    """

    name = "convexity"
    Memory = VerdictMemory
    memory: VerdictMemory

    def __init__(self, tolerance: float = 0.01, *, times: int = 2, strict: bool = False) -> None:
        super().__init__()
        self.tolerance = arguments.at_least("tolerance", tolerance, 0.0)
        self.times = arguments.count("times", times)
        self.strict = strict

    def observe(self, evidence: Evidence) -> Decision:
        """Take in the evidence of a proposed swap; the decision's ``swap`` says whether it may happen."""
        lowest = evidence.lambda_min - (evidence.residual_min if self.strict else 0.0)
        convex = evidence.lambda_max > 0.0 and lowest >= -self.tolerance * evidence.lambda_max
        rising = evidence.gradient_curvature > 0.0
        self.memory.times = self.memory.times + 1 if convex and rising else 0
        return Decision(
            swap=self.memory.times >= self.times,
            reason=(
                f"curvature along the gradient {evidence.gradient_curvature:.3g} {'is' if rising else 'is not'} positive, "
                f"smallest eigenvalue {lowest:.3g} {'is not' if convex else 'is'} below -{self.tolerance:g} x the largest "
                f"{evidence.lambda_max:.3g}; convex {self.memory.times} of {self.times} times in a row"
            ),
            rule=self.name,
            values=evidence.values(),
        )
