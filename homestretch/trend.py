"""Trends of a loss against its cost: robust slopes, and what they promise for the cost that is left."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

TINY = 1e-300
_MOST_POINTS = 200


def log(value: float) -> float:
    """Natural logarithm; a loss that reached 0 counts as the smallest number instead of minus infinity."""
    return math.log(max(value, TINY))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Median of the slopes between all pairs of points (Theil, 1950; Sen, 1968), NaN with fewer than two distinct x.

    Up to 29 % of the points may be arbitrarily wrong without moving it far, which least squares does not offer. Of more than
    200 points every so many are taken, the last among them: the pairs grow with their square, and rules ask after every epoch.
    """
    xs, ys = np.asarray(_some(x), dtype=float), np.asarray(_some(y), dtype=float)
    one, other = _pairs(len(xs))
    dx, dy = xs[other] - xs[one], ys[other] - ys[one]
    slopes = dy[dx != 0.0] / dx[dx != 0.0]
    return float(np.median(slopes)) if slopes.size else math.nan


def _some(values: Sequence[float]) -> Sequence[float]:
    """Every so many of the values from the last one on, 200 at most."""
    return values[:: -max(-(-len(values) // _MOST_POINTS), 1)]


@lru_cache(maxsize=8)
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of all pairs of points, which are the same epoch after epoch once there are many."""
    one, other = np.triu_indices(count, 1)
    return one, other


def rate(costs: Sequence[float], losses: Sequence[float]) -> float:
    """Robust fall of the log loss per unit of cost: positive while there is progress."""
    return -slope(_some(costs), [log(f) for f in _some(losses)])


def exponent(costs: Sequence[float], losses: Sequence[float]) -> float:
    r"""The robust power a of :math:`L \propto c^{-a}`, from points of positive cost."""
    return -slope([math.log(c) for c in _some(costs)], [log(f) for f in _some(losses)])


def last_doubling(costs: Sequence[float], at_least: int) -> slice:
    """The points since the cost was half of what it is now, and no fewer than ``at_least``."""
    start = bisect_left(costs, costs[-1] / 2.0) if costs else 0
    return slice(max(0, min(start, len(costs) - at_least)), None)


def log_loss_at(cost: float, costs: Sequence[float], losses: Sequence[float]) -> float:
    """Log loss at a cost, linear between the recorded points and constant beyond them."""
    i = bisect_left(costs, cost)
    if i == 0:
        return log(losses[0])
    if i == len(costs):
        return log(losses[-1])
    share = (cost - costs[i - 1]) / (costs[i] - costs[i - 1])
    return (1.0 - share) * log(losses[i - 1]) + share * log(losses[i])
