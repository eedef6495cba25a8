"""Minima of parabolas and cubics through losses and slopes; NaN where there is none."""

from __future__ import annotations

import math

from homestretch.searches.trials import Trial

_CLEAR = 10.0  # how far above the noise losses must differ to be trusted


def quadratic(a: Trial, b: Trial) -> float:
    """Minimum of the parabola through the losses of ``a`` and ``b`` and the slope of ``a`` (Nocedal and Wright, 2006, 3.58)."""
    width = b.step - a.step
    curvature = 2.0 * (b.loss - a.loss - width * a.slope)
    return a.step - _ratio(a.slope * width * width, curvature) if curvature > 0.0 else math.nan


def secant(a: Trial, b: Trial) -> float:
    """Root of the straight line through two slopes."""
    return _ratio(a.step * b.slope - b.step * a.slope, b.slope - a.slope)


def cubic(a: Trial, b: Trial) -> float:
    """Minimum of the cubic through two losses and two slopes (Nocedal and Wright, 2006, 3.59).

    The root is taken in the form of More and Thuente (1994), which scales all terms so that none overflows.
    """
    width = b.step - a.step
    theta = 3.0 * _ratio(a.loss - b.loss, width) + a.slope + b.slope
    scale = max(abs(theta), abs(a.slope), abs(b.slope))
    if not 0.0 < scale < math.inf:
        return math.nan
    square = (theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale)
    if not square >= 0.0:
        return math.nan
    gamma = math.copysign(scale * math.sqrt(square), width)
    return b.step - width * _ratio(b.slope + gamma - theta, b.slope - a.slope + 2.0 * gamma)


def minimum(a: Trial, b: Trial, noise: float) -> float:
    """Minimum of the cubic, or by slopes alone where it has none or where the losses' part in it is drowned by ``noise``."""
    promised = abs(b.step - a.step) * max(abs(a.slope), abs(b.slope))
    step = cubic(a, b) if promised > _CLEAR * noise else math.nan
    return step if math.isfinite(step) else secant(a, b)


def cubic_by_losses(start: Trial, a: Trial, b: Trial) -> float:
    """Minimum of the cubic through three losses and the slope of ``start``, at step 0 (Nocedal and Wright, 2006, page 58)."""
    slope = start.slope
    rise_a = _ratio(a.loss - start.loss - slope * a.step, a.step * a.step)
    rise_b = _ratio(b.loss - start.loss - slope * b.step, b.step * b.step)
    third = _ratio(rise_b - rise_a, b.step - a.step)
    second = rise_a - third * a.step
    # The larger root of 3 third x^2 + 2 second x + slope, written so that third = 0 gives the parabola's minimum.
    square = second * second - 3.0 * third * slope
    if not square >= 0.0:
        return math.nan
    root = math.sqrt(square)
    return _ratio(-slope, second + root) if second + root > 0.0 else math.nan


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan
