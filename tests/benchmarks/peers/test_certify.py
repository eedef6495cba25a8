from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy.optimize import least_squares

from benchmarks.functions import BY_NAME
from benchmarks.peers import Solver, certify, solve
from benchmarks.peers.certify import local_minimum
from benchmarks.peers.scipy_peers import run_scipy


def end_of_run(problem, method) -> torch.Tensor:
    meter, _, _ = solve(Solver("scipy", method, partial(run_scipy, method=method)), problem)
    assert meter.best_point is not None
    return meter.best_point


@pytest.fixture(params=["dense", "products"])
def either_way(request, monkeypatch):
    if request.param == "products":
        monkeypatch.setattr(certify, "DENSE_LIMIT", 0)


@pytest.mark.usefixtures("either_way")
def test_a_local_minimum_is_recognised():
    problem = BY_NAME["broyden-tridiagonal"].at(100)
    assert local_minimum(problem, end_of_run(problem, "CG")) == pytest.approx(1.7232729334097, abs=1e-9)


@pytest.mark.usefixtures("either_way")
def test_a_point_on_its_way_down_is_none():
    problem = BY_NAME["broyden-tridiagonal"].at(100)
    assert local_minimum(problem, problem.start()) is None


def test_a_saddle_is_none():
    problem = BY_NAME["biggs-exp6"].at(6)
    start = [1.7114, 17.6832, 1.1631, 5.1866]

    def residuals(y):
        return problem.residuals(torch.tensor([*y, y[0], y[2]], dtype=torch.float64)).numpy()

    y = least_squares(residuals, start, "3-point", method="lm", xtol=1e-15).x
    x = torch.tensor([*y, y[0], y[2]], dtype=torch.float64)
    assert torch.func.grad(problem.loss)(x).abs().max() < 1e-6
    assert local_minimum(problem, x) is None


def test_a_plateau_and_a_non_finite_point_are_none():
    problem = BY_NAME["jennrich-sampson"].at(2)
    assert local_minimum(problem, torch.full((2,), -1e4, dtype=torch.float64)) is None
    assert local_minimum(problem, torch.full((2,), 1e4, dtype=torch.float64)) is None
