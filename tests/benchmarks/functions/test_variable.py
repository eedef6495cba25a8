"""The vectorised residuals against loops written from the printed formulas, 1-based as they are."""

from __future__ import annotations

from math import cos, exp, sin, sqrt

import pytest
import torch

from benchmarks.functions import fixed, variable


def penalty_2(x, n):
    a = 1e-5
    rows = [x[1] - 0.2]
    rows += [sqrt(a) * (exp(x[i] / 10) + exp(x[i - 1] / 10) - exp(i / 10) - exp((i - 1) / 10)) for i in range(2, n + 1)]
    rows += [sqrt(a) * (exp(x[i - n + 1] / 10) - exp(-1 / 10)) for i in range(n + 1, 2 * n)]
    return [*rows, sum((n - j + 1) * x[j] ** 2 for j in range(1, n + 1)) - 1]


def variably_dimensioned(x, n):
    s = sum(j * (x[j] - 1) for j in range(1, n + 1))
    return [x[i] - 1 for i in range(1, n + 1)] + [s, s * s]


def trigonometric(x, n):
    total = sum(cos(x[j]) for j in range(1, n + 1))
    return [n - total + i * (1 - cos(x[i])) - sin(x[i]) for i in range(1, n + 1)]


def boundary_value(x, n):
    h = 1 / (n + 1)
    x = [0.0, *x[1:], 0.0]
    return [2 * x[i] - x[i - 1] - x[i + 1] + h * h * (x[i] + i * h + 1) ** 3 / 2 for i in range(1, n + 1)]


def integral_equation(x, n):
    h = 1 / (n + 1)
    t = [i * h for i in range(n + 1)]
    rows = []
    for i in range(1, n + 1):
        left = sum(t[j] * (x[j] + t[j] + 1) ** 3 for j in range(1, i + 1))
        right = sum((1 - t[j]) * (x[j] + t[j] + 1) ** 3 for j in range(i + 1, n + 1))
        rows.append(x[i] + h * ((1 - t[i]) * left + t[i] * right) / 2)
    return rows


def broyden_tridiagonal(x, n):
    x = [0.0, *x[1:], 0.0]
    return [(3 - 2 * x[i]) * x[i] - x[i - 1] - 2 * x[i + 1] + 1 for i in range(1, n + 1)]


def broyden_banded(x, n):
    rows = []
    for i in range(1, n + 1):
        band = [j for j in range(max(1, i - 5), min(n, i + 1) + 1) if j != i]
        rows.append(x[i] * (2 + 5 * x[i] ** 2) + 1 - sum(x[j] * (1 + x[j]) for j in band))
    return rows


def linear_rank_1(x, n):
    return [i * sum(j * x[j] for j in range(1, n + 1)) - 1 for i in range(1, 2 * n + 1)]


def linear_rank_1_zero(x, n):
    inner = [(i - 1) * sum(j * x[j] for j in range(2, n)) - 1 for i in range(2, 2 * n)]
    return [-1, *inner, -1]


def linear_full_rank(x, n):
    m = 2 * n
    mean = 2 / m * sum(x[1:])
    return [x[i] - mean - 1 for i in range(1, n + 1)] + [-mean - 1] * n


def chebyquad(x, n):
    def polynomial(i, z):
        first, second = 1.0, 2 * z - 1
        for _ in range(i):
            first, second = second, 2 * (2 * z - 1) * second - first
        return first

    return [
        sum(polynomial(i, x[j]) for j in range(1, n + 1)) / n + (1 / (i * i - 1) if i % 2 == 0 else 0) for i in range(1, n + 1)
    ]


def brown_almost_linear(x, n):
    product = 1.0
    for j in range(1, n + 1):
        product *= x[j]
    return [x[i] + sum(x[1:]) - (n + 1) for i in range(1, n)] + [product - 1]


def watson(x, n):
    rows = []
    for i in range(1, 30):
        t = i / 29
        slope = sum((j - 1) * x[j] * t ** (j - 2) for j in range(2, n + 1))
        rows.append(slope - sum(x[j] * t ** (j - 1) for j in range(1, n + 1)) ** 2 - 1)
    return [*rows, x[1], x[2] - x[1] ** 2 - 1]


CASES = [
    (variable.penalty_2, penalty_2),
    (variable.variably_dimensioned, variably_dimensioned),
    (variable.trigonometric, trigonometric),
    (variable.discrete_boundary_value, boundary_value),
    (variable.discrete_integral_equation, integral_equation),
    (variable.broyden_tridiagonal, broyden_tridiagonal),
    (variable.broyden_banded, broyden_banded),
    (variable.linear_rank_1, linear_rank_1),
    (variable.linear_rank_1_zero, linear_rank_1_zero),
    (variable.linear_full_rank, linear_full_rank),
    (variable.chebyquad, chebyquad),
    (variable.brown_almost_linear, brown_almost_linear),
    (fixed.watson, watson),
]


@pytest.mark.parametrize(("fast", "slow"), CASES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("n", [5, 12])
def test_vectorised_equals_the_printed_formula(fast, slow, n):
    x = torch.rand(n, dtype=torch.float64) * 2 - 0.5
    expected = slow([float("nan"), *x.tolist()], n)
    torch.testing.assert_close(fast(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fast", [variable.rosenbrock, variable.powell_singular, variable.wood])
def test_extended_functions_are_their_blocks_one_after_the_other(fast):
    x = torch.rand(12, dtype=torch.float64)
    blocks = torch.cat([fast(block) for block in x.split(4)])
    torch.testing.assert_close(fast(x), blocks)


@pytest.mark.parametrize(("a", "b", "turn"), [(1, 1, 1 / 8), (1, -1, -1 / 8), (-1, 1, 3 / 8), (-1, -1, 5 / 8)])
def test_helical_valley_counts_its_angle_from_minus_a_quarter(a, b, turn):
    x = torch.tensor([a, b, 10 * turn], dtype=torch.float64)
    row = fixed.helical_valley(x)
    assert row[0].item() == pytest.approx(0.0, abs=1e-12)
    assert row[1].item() == pytest.approx(10 * (sqrt(2) - 1))
