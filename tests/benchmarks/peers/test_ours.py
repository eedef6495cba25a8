from __future__ import annotations

import pytest
import torch

from benchmarks.functions import BY_NAME
from benchmarks.peers.meter import Halt, Meter
from benchmarks.peers.ours import engine_version, least_squares, run_ours, run_ours_with_products
from homestretch import LBFGS, GaussNewtonCG, LevenbergMarquardt, NewtonCG


@pytest.fixture
def meter():
    return Meter(BY_NAME["beale"].at(2))


def test_the_sum_of_squares_is_the_problem_and_its_prices_are_passed_on(meter):
    x, function = least_squares(meter)
    loss = function()
    assert float(loss) == pytest.approx(14.203125)
    assert meter.cost == pytest.approx(1.0)
    torch.testing.assert_close(x.grad, torch.func.grad(meter.problem.loss)(meter.start()))
    hessian = torch.autograd.functional.hessian(meter.problem.loss, meter.start())
    v = torch.tensor([0.3, -2.0], dtype=torch.float64)
    function.hessian_product([v])
    before = meter.cost  # the first product chooses its way and pays for that
    torch.testing.assert_close(function.hessian_product([v])[0], hessian @ v)
    assert meter.cost - before == pytest.approx(3.0)
    function.gauss_newton_product([v])
    before = meter.cost
    jacobian = torch.func.jacrev(meter.problem.residuals)(meter.start())
    torch.testing.assert_close(function.gauss_newton_product([v])[0], 2.0 * jacobian.T @ (jacobian @ v))
    assert meter.cost - before == pytest.approx(2.0)
    before = meter.cost
    torch.testing.assert_close(function.jacobian(), jacobian)
    assert meter.cost - before == pytest.approx(1 / 3 + 2 / 3 * 2)  # two unknowns are fewer than three residuals
    assert meter.trace[0] == (pytest.approx(1.0), pytest.approx(14.203125))


@pytest.mark.parametrize("make", [NewtonCG, GaussNewtonCG, LevenbergMarquardt])
def test_a_method_with_products_is_halted_where_it_has_solved_the_problem(meter, make):
    with pytest.raises(Halt, match="solved"):
        run_ours_with_products(meter, make)
    assert meter.best <= 1e-8
    assert 0 < meter.evaluations < 100
    assert (meter.products > 0) == (make is not LevenbergMarquardt)
    assert meter.cost >= meter.evaluations / 3 + 2 * meter.products


def test_a_method_that_stops_says_why(meter):
    meter._target = -1.0  # out of reach: it stops at the minimum by itself
    assert run_ours(meter, LBFGS) in {"NO_DECREASE", "NO_PROGRESS", "GRADIENT_ZERO"}
    assert meter.best < 1e-12


def test_the_engine_has_a_version():
    assert len(engine_version()) == 12
