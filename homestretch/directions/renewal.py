r"""Curvature carried over to a function that has changed: kept if it still passes for positive definite, else forgotten.

When points are redrawn, the new function's Hessian is near the old one's, and an inverse Hessian learned over hundreds of
iterations is worth keeping if it is positive definite (J. Urban, P. Stefanou, J. Pons, "Unveiling the optimization process of
physics informed neural networks", arXiv:2405.04230, 2024). The approximations here are products, :math:`J J^T`, or made of
pairs with :math:`\langle s, y \rangle > 0`, so they are positive definite in exact arithmetic. What is left to test is whether
that survived rounding where it matters: :math:`\langle g, H g \rangle` with the new gradient, finite and positive beyond its
own rounding error.
"""

from __future__ import annotations

import math

from homestretch import vectors
from homestretch.directions.base import Point
from homestretch.vectors import Vector


def goes_downhill(point: Point, direction: Vector) -> bool:
    r"""Whether :math:`-\langle g, d \rangle` is finite and above what rounding makes of :math:`\|g\| \|d\|`."""
    slope, gg, dd = point.dots((point.gradient, direction), (point.gradient, point.gradient), (direction, direction))
    unit = vectors.working_eps(direction[0].dtype)
    return math.isfinite(dd) and -slope > unit * math.sqrt(gg * dd)
