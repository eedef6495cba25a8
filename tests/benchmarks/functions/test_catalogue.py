from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from benchmarks.functions.catalogue import (
    BY_NAME,
    FUNCTIONS,
    LARGE_SIZES,
    all_problems,
    large_problems,
    quick_problems,
    standard_problems,
)

# Solutions printed by More, Garbow and Hillstrom (1981) with f = 0 there.
ZEROS = {
    "rosenbrock": (1, 1),
    "freudenstein-roth": (5, 4),
    "brown-badly-scaled": (1e6, 2e-6),
    "beale": (3, 0.5),
    "helical-valley": (1, 0, 0),
    "gulf": (50, 25, 1.5),
    "box": (1, 10, 1),
    "powell-singular": (0, 0, 0, 0),
    "wood": (1, 1, 1, 1),
    "biggs-exp6": (1, 10, 1, 5, 4, 3),
    "extended-rosenbrock": (1,) * 10,
    "extended-powell-singular": (0,) * 12,
    "variably-dimensioned": (1,) * 10,
    "trigonometric": (0,) * 10,
    "brown-almost-linear": (1,) * 10,
    "extended-wood": (1,) * 100,
}
# Minima printed there to six digits, with the size and a start from which Levenberg-Marquardt gets there.
PRINTED = [
    ("freudenstein-roth", 2, 48.9842, None),
    ("jennrich-sampson", 2, 124.362, None),
    ("bard", 3, 8.21487e-3, None),
    ("gaussian", 3, 1.12793e-8, None),
    ("meyer", 3, 87.9458, (5.6e-3, 6181.0, 345.0)),
    ("kowalik-osborne", 4, 3.07505e-4, None),
    ("brown-dennis", 4, 85822.2, None),
    ("osborne-1", 5, 5.46489e-5, None),
    ("osborne-2", 11, 4.01377e-2, None),
    ("watson", 6, 2.28767e-3, None),
    ("watson", 9, 1.39976e-6, None),
    ("watson", 12, 4.72238e-10, None),
    ("penalty-1", 4, 2.24997e-5, (0.25,) * 4),
    ("penalty-1", 10, 7.08765e-5, (0.158,) * 10),
    ("penalty-2", 4, 9.37629e-6, None),
    ("penalty-2", 10, 2.93660e-4, None),
    ("brown-almost-linear", 10, 1.0, (0.0,) * 9 + (11.0,)),
    ("chebyquad", 8, 3.51687e-3, None),
    ("chebyquad", 10, 6.50395e-3, None),
    # Values that the paper states as x goes to infinity.
    ("bard", 3, 17.4286, (0.84, -1e8, -1e8)),
    ("kowalik-osborne", 4, 1.02734e-3, (1e9, -14.07, -4.5e10, -2.8e10)),
]
# f at the standard start, worked out by hand from the printed formulas.
AT_START = {
    "rosenbrock": 24.2,
    "freudenstein-roth": 400.5,
    "brown-badly-scaled": 999998000003.0,
    "beale": 14.203125,
    "helical-valley": 2500.0,
    "powell-singular": 215.0,
    "wood": 19192.0,
    "watson": 30.0,
    "extended-rosenbrock": 121.0,
    "extended-powell-singular": 645.0,
    "penalty-1": 885.06264,
    "broyden-tridiagonal": 21.0,
    "broyden-banded": 360.0,
    "linear-full-rank": 50.0,
}


def fit(residuals, start) -> float:
    found = least_squares(residuals, start, "3-point", method="lm", x_scale="jac", ftol=1e-15, xtol=1e-15, gtol=1e-15)
    return 2 * found.cost


def loss(name: str, x: tuple[float, ...]) -> float:
    point = torch.tensor(x, dtype=torch.float64)
    return BY_NAME[name].at(len(x)).loss(point).item()


@pytest.mark.parametrize("name", ZEROS)
def test_is_zero_at_the_printed_solution(name):
    assert loss(name, ZEROS[name]) == pytest.approx(0.0, abs=1e-20)
    assert min(BY_NAME[name].minima(len(ZEROS[name]))) == 0.0


@pytest.mark.parametrize("name", AT_START)
def test_value_at_the_standard_start(name):
    function = BY_NAME[name]
    problem = function.at(function.sizes[0])
    assert problem.loss(problem.start()).item() == pytest.approx(AT_START[name], rel=1e-12)


@pytest.mark.parametrize(("name", "size", "printed", "near"), PRINTED)
def test_minimum_is_the_printed_one_and_is_found(name, size, printed, near):
    problem = BY_NAME[name].at(size)
    (listed,) = [value for value in problem.minima if value == pytest.approx(printed, rel=2e-5)]
    start = problem.start().numpy() if near is None else np.array(near)

    def residuals(x):
        return problem.residuals(torch.tensor(x, dtype=torch.float64)).numpy()

    assert fit(residuals, start) == pytest.approx(listed, rel=1e-5, abs=1e-14)


def test_biggs_second_value_is_the_minimum_where_two_exponentials_coincide():
    """From the standard start x_1 = x_5 and x_3 = x_6 for ever; off that plane the printed point is a saddle."""
    problem = BY_NAME["biggs-exp6"].at(6)

    def residuals(y):
        a, b, c, d = y
        return problem.residuals(torch.tensor([a, b, c, d, a, c], dtype=torch.float64)).numpy()

    assert fit(residuals, np.array([1.0, 2.0, 1.0, 1.0])) == pytest.approx(problem.minima[1], rel=1e-9)
    assert problem.minima[1] == pytest.approx(5.65565e-3, rel=1e-6)


@pytest.mark.parametrize("name", ["linear-full-rank", "linear-rank-1", "linear-rank-1-zero"])
@pytest.mark.parametrize("size", [4, 10])
def test_linear_minima_by_linear_algebra(name, size):
    problem = BY_NAME[name].at(size)
    offset = problem.residuals(torch.zeros(size, dtype=torch.float64))
    matrix = torch.func.jacrev(problem.residuals)(problem.start())
    solution = np.linalg.lstsq(matrix.numpy(), -offset.numpy(), rcond=None)[0]
    assert problem.minima == (pytest.approx(problem.loss(torch.from_numpy(solution)).item(), rel=1e-10),)


@pytest.mark.parametrize("size", [4, 100, 10_000])
def test_penalty_1_minimum_is_stationary_in_its_unknown(size):
    problem = BY_NAME["penalty-1"].at(size)
    (listed,) = problem.minima
    x = torch.linspace(0.9, 1.1, 100_001, dtype=torch.float64) / (2 * math.sqrt(size))
    scan = 1e-5 * size * (x - 1) ** 2 + (size * x * x - 0.25) ** 2
    assert listed == pytest.approx(scan.min().item(), rel=1e-7)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("function", [*FUNCTIONS, BY_NAME["extended-wood"]], ids=lambda function: function.name)
def test_shapes_and_gradient(function):
    problem = function.at(min(function.sizes))
    generator = torch.Generator().manual_seed(1)
    x = problem.start()
    assert x.shape == (problem.size,)
    assert x.dtype == torch.float64
    x = x + 0.1 * torch.rand(x.shape, generator=generator, dtype=torch.float64) * (1 + 0.1 * x.abs())
    residuals = problem.residuals(x)
    assert residuals.shape == (problem.rows,)
    assert problem.loss(x).item() == pytest.approx(residuals.square().sum().item())
    jacobian = torch.autograd.functional.jacobian(problem.residuals, x)
    torch.testing.assert_close(torch.func.grad(problem.loss)(x), 2 * jacobian.T @ residuals)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    h = 1e-5 * (1 + x.abs().max())
    difference = (problem.residuals(x + h * direction) - problem.residuals(x - h * direction)) / (2 * h)
    change = jacobian @ direction
    torch.testing.assert_close(change, difference, rtol=1e-4, atol=1e-5 * change.norm().item())


def test_there_are_35_functions_in_order_with_known_sizes():
    assert [function.number for function in FUNCTIONS] == list(range(1, 36))
    assert all(function.minima(size) == tuple(sorted(function.minima(size))) for function in FUNCTIONS
               for size in function.sizes)  # fmt: skip


def test_every_problem_starts_finite_and_unsolved():
    problems = all_problems()
    assert len({(p.name, p.size, p.factor) for p in problems}) == len(problems)
    assert all(problem.is_worth_starting() for problem in problems)
    names = {problem.name for problem in standard_problems()}
    assert names == {function.name for function in FUNCTIONS}
    assert {p.size for p in large_problems()} == set(LARGE_SIZES)
    assert len(quick_problems()) == 35 + 8


@pytest.mark.parametrize(
    ("name", "size", "factor", "why"),
    [
        ("jennrich-sampson", 2, 100.0, "overflow"),
        ("gulf", 3, 10.0, "the solution"),
        ("gulf", 3, 100.0, "flat"),
    ],
)
def test_useless_starts_are_left_out(name, size, factor, why):
    assert not BY_NAME[name].at(size, factor).is_worth_starting(), why


def test_starts_are_fresh_copies():
    problem = BY_NAME["penalty-1"].at(4)
    problem.start().zero_()
    assert problem.start().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_start_names():
    assert [BY_NAME["beale"].at(2, factor).start_name for factor in (1.0, 10.0, 100.0)] == ["1x", "10x", "100x"]
