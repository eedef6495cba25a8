from __future__ import annotations

import math

import pytest
import torch

from homestretch import vectors
from homestretch.directions.linear_cg import CGOptions, CGStatus, linear_cg

LIKE = [torch.zeros(3, 4, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)]


def dots(*pairs):
    return vectors.dots(pairs)


def operator(matrix):
    return lambda v: vectors.unpack(matrix @ vectors.pack(v), LIKE)


def system(eigenvalues, seed=0):
    torch.manual_seed(seed)
    q = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0]
    return q @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ q.T, torch.randn(20, dtype=torch.float64)


def solve(matrix, right, precondition=None, start=None, **options):
    start = None if start is None else vectors.unpack(start, LIKE)
    return linear_cg(
        operator(matrix), vectors.unpack(right, LIKE), dots, CGOptions(**options), precondition=precondition, start=start
    )


@pytest.mark.parametrize("jacobi", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_solves_a_definite_system(jacobi, warm):
    matrix, right = system(torch.logspace(-1, 1, 20))
    before = right.clone()
    diagonal = vectors.unpack(1.0 / matrix.diagonal(), LIKE)
    result = solve(
        matrix,
        right,
        precondition=(lambda v: vectors.multiply(diagonal, v)) if jacobi else None,
        start=torch.ones(20, dtype=torch.float64) if warm else None,
        tolerance=1e-12,
    )
    x = vectors.pack(result.solution)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, right), rtol=1e-9, atol=1e-9)
    assert result.status is CGStatus.CONVERGED
    assert result.model == pytest.approx(float(0.5 * x @ matrix @ x - right @ x), rel=1e-9)
    assert torch.equal(right, before)


def test_takes_as_many_steps_as_there_are_different_eigenvalues():
    matrix, right = system([1.0] * 10 + [5.0] * 6 + [30.0] * 4)
    assert solve(matrix, right, tolerance=1e-10).iterations == 3


def test_a_good_start_saves_products():
    matrix, right = system(torch.logspace(-2, 2, 20))
    exact = torch.linalg.solve(matrix, right)
    # The start's length does not matter, as it is scaled first.
    assert solve(matrix, right, start=-7.0 * exact, tolerance=1e-8).iterations == 1


@pytest.mark.parametrize("start", [torch.zeros(20, dtype=torch.float64), torch.full((20,), 1e9, dtype=torch.float64)])
def test_no_start_makes_the_model_positive(start):
    matrix, right = system(torch.logspace(-2, 2, 20))
    assert solve(matrix, right, start=start, max_iterations=2).model <= 0.0


def test_leaves_at_negative_curvature_with_the_solution_so_far():
    matrix, right = system([-1.0] + [2.0 + i for i in range(19)])
    result = solve(matrix, right)
    assert result.status is CGStatus.NEGATIVE_CURVATURE
    p, x = vectors.pack(result.negative_direction), vectors.pack(result.solution)
    assert float(p @ matrix @ p) < 0.0
    assert float(0.5 * x @ matrix @ x - right @ x) == pytest.approx(result.model, rel=1e-8)
    assert result.model < 0.0


@pytest.mark.parametrize("eigenvalues", [torch.logspace(-2, 2, 20), [-1.0] + [2.0 + i for i in range(19)]])
@pytest.mark.parametrize("jacobi", [False, True])
def test_steihaug_point_lies_on_the_border(eigenvalues, jacobi):
    matrix, right = system(eigenvalues)
    metric = torch.linspace(0.5, 3.0, 20, dtype=torch.float64) if jacobi else torch.ones(20, dtype=torch.float64)
    inverse = vectors.unpack(1.0 / metric, LIKE)
    result = solve(matrix, right, precondition=lambda v: vectors.multiply(inverse, v), radius=0.3)
    x = vectors.pack(result.solution)
    assert result.status in (CGStatus.BOUNDARY, CGStatus.NEGATIVE_CURVATURE)
    assert float((metric * x * x).sum().sqrt()) == pytest.approx(0.3, rel=1e-9)
    # At least as good as the Cauchy point, as Steihaug proves.
    z = right / metric
    c = min(float(right @ z / (z @ matrix @ z)), 0.3 / float((metric * z * z).sum().sqrt()))
    assert result.model <= float(0.5 * c * c * z @ matrix @ z - c * right @ z) + 1e-12
    assert result.model == pytest.approx(float(0.5 * x @ matrix @ x - right @ x), rel=1e-8)


def test_a_wide_region_changes_nothing():
    matrix, right = system(torch.logspace(-1, 1, 20))
    free, bounded = solve(matrix, right), solve(matrix, right, radius=1e6)
    assert all(torch.equal(a, b) for a, b in zip(free.solution, bounded.solution, strict=True))


def test_stops_when_progress_is_small():
    matrix, right = system(torch.logspace(-1, 1, 20))
    result = solve(matrix, right, progress=5e-2, tolerance=0.0)
    assert result.status is CGStatus.PROGRESS
    assert 10 < result.iterations < 20


def test_stops_at_the_limit_and_on_non_finite_products():
    matrix, right = system(torch.logspace(-6, 0, 20))
    assert solve(matrix, right, max_iterations=3).status is CGStatus.LIMIT
    result = solve(matrix * math.nan, right)
    assert result.status is CGStatus.NON_FINITE
    assert float(vectors.norm(result.solution)) == 0.0


def test_zero_right_hand_side_needs_no_product():
    matrix, right = system(torch.ones(20))
    assert solve(matrix, 0.0 * right).iterations == 0


@pytest.mark.parametrize(
    ("options", "name"),
    [({"max_iterations": 0}, "max_iterations"), ({"tolerance": -1.0}, "tolerance"), ({"radius": 0.0}, "radius"),
     ({"progress": math.inf}, "progress"), ({"curvature": math.nan}, "curvature")],
)  # fmt: skip
def test_refuses_bad_options(options, name):
    with pytest.raises(ValueError, match=name):
        CGOptions(**options)


def test_refuses_a_start_in_a_trust_region():
    matrix, right = system(torch.ones(20))
    with pytest.raises(ValueError, match="radius"):
        solve(matrix, right, start=right, radius=1.0)
