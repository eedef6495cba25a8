r"""Curvature along directions that a descent has anyway: its gradient and its last step.

:math:`v^\top H v / |v|^2` says whether the loss bends upwards along v. Positive along the gradient is what a falling gradient
norm shows (:math:`\frac{d}{dt} \frac12 |g|^2 = - g^\top H g` along gradient flow), and no more than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from homestretch import vectors
from homestretch.convexity.lanczos import Product
from homestretch.vectors import Vector


@dataclass(frozen=True, kw_only=True)
class Curvature:
    r"""Curvature along one direction v.

    Attributes:
        quadratic: :math:`v^\top H v`.
        rayleigh: :math:`v^\top H v / |v|^2`, between the extreme eigenvalues of H; NaN for v = 0.
    """

    quadratic: float
    rayleigh: float


def along(product: Product, vector: Vector) -> Curvature:
    """Curvature along a vector, by one product with the Hessian."""
    quadratic, square = vectors.dots([(vector, product(vector)), (vector, vector)])
    return _curvature(quadratic, square)


def secant(step: Sequence[Tensor], gradient_change: Sequence[Tensor]) -> Curvature:
    r"""Curvature along a step, free: :math:`s^\top y = s^\top \bar H s`, with :math:`\bar H` the mean Hessian on the way.

    Args:
        step: s, the difference of two points.
        gradient_change: y, the difference of the gradients there, of one and the same function.
    """
    quadratic, square = vectors.dots([(step, gradient_change), (step, step)])
    return _curvature(quadratic, square)


def _curvature(quadratic: float, square: float) -> Curvature:
    return Curvature(quadratic=quadratic, rayleigh=quadratic / square if square > 0.0 else math.nan)
