"""Trends of a loss against its cost: robust slopes, and what they promise for the cost that is left."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import combinations
from statistics import median

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
    points = list(zip(x, y, strict=True))
    every = max(-(-len(points) // _MOST_POINTS), 1)
    pairs = combinations(points[::-every], 2)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 != x1]
    return median(slopes) if slopes else math.nan


def rate(costs: Sequence[float], losses: Sequence[float]) -> float:
    """Robust fall of the log loss per unit of cost: positive while there is progress."""
    return -slope(costs, [log(f) for f in losses])


def exponent(costs: Sequence[float], losses: Sequence[float]) -> float:
    r"""The robust power a of :math:`L \propto c^{-a}`, from points of positive cost."""
    return -slope([math.log(c) for c in costs], [log(f) for f in losses])


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
