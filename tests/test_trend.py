from __future__ import annotations

import math
from itertools import combinations
from statistics import median

import numpy as np
import pytest
from scipy import stats

from homestretch import trend


@pytest.mark.parametrize("seed", range(5))
def test_slope_equals_scipy(seed):
    random = np.random.default_rng(seed)
    x, y = np.sort(random.uniform(0, 10, 25)), random.standard_normal(25)
    assert trend.slope(list(x), list(y)) == pytest.approx(stats.theilslopes(y, x).slope, rel=1e-12)


def test_slope_shrugs_off_wrong_points():
    x = [float(i) for i in range(20)]
    y = [2.0 * v for v in x]
    y[3], y[11], y[19] = 500.0, -900.0, 1e9
    assert trend.slope(x, y) == pytest.approx(2.0)


@pytest.mark.parametrize("x", [[], [1.0], [2.0, 2.0]])
def test_slope_of_too_little(x):
    assert math.isnan(trend.slope(x, [1.0] * len(x)))


def test_rate_and_exponent():
    costs = [float(i) for i in range(1, 30)]
    assert trend.rate(costs, [math.exp(-0.3 * c) for c in costs]) == pytest.approx(0.3)
    assert trend.exponent(costs, [7.0 * c**-1.7 for c in costs]) == pytest.approx(1.7)


@pytest.mark.parametrize(("costs", "first"), [([1.0, 2.0, 3.0, 5.0, 6.0, 8.0, 10.0], 3), ([1.0, 10.0, 100.0], 0), ([], 0)])
def test_last_doubling(costs, first):
    assert costs[trend.last_doubling(costs, 3)] == costs[first:]


def test_log_loss_between_points():
    costs, losses = [0.0, 1.0, 3.0], [1.0, math.exp(-1), math.exp(-3)]
    found = [trend.log_loss_at(c, costs, losses) for c in (-1.0, 0.5, 1.0, 2.0, 9.0)]
    assert found == pytest.approx([0.0, -0.5, -1.0, -2.0, -3.0])


def test_log_of_nothing():
    assert trend.log(0.0) == math.log(trend.TINY)


@pytest.mark.parametrize("count", [201, 1000, 5000])
def test_of_many_points_some_are_enough(count):
    x = [float(i) for i in range(count)]
    random = np.random.default_rng(0)
    y = [0.5 * v + e for v, e in zip(x, random.standard_normal(count), strict=True)]
    assert trend.slope(x, y) == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("count", [2, 7, 200, 501])
def test_slope_is_the_median_over_all_pairs_bit_for_bit(count):
    random = np.random.default_rng(1)
    x, y = [float(i // 2) for i in range(count)], random.standard_normal(count).tolist()
    every = -(-count // 200)
    pairs = combinations(list(zip(x, y, strict=True))[::-every], 2)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x1 != x2]
    assert slopes == [] or trend.slope(x, y) == median(slopes)
