from __future__ import annotations

import pytest
import torch

from benchmarks.functions import BY_NAME
from benchmarks.peers import SOLVERS, Solver, solve
from benchmarks.peers.meter import Meter
from benchmarks.peers.scipy_peers import NumpyObjective
from benchmarks.peers.torch_peers import run_optimizer


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_solves_an_easy_problem_and_is_counted(solver):
    problem = BY_NAME["linear-full-rank"].at(10)
    meter, status, _ = solve(solver, problem)
    assert status in {"solved", "stopped"}
    assert meter.best == pytest.approx(10.0, rel=1e-7)
    assert meter.evaluations >= 2
    assert 0 < meter.cost <= 100
    assert solver.version


@pytest.mark.parametrize("solver", [s for s in SOLVERS if s.method != "BASIC"], ids=lambda solver: solver.name)
def test_solves_rosenbrock_within_the_budget(solver):
    meter, status, _ = solve(solver, BY_NAME["rosenbrock"].at(2))
    assert status == "solved"
    assert meter.best <= 1e-8
    # From its start Rosenbrock's function falls to two Gauss-Newton steps, as its residuals are all but linear.
    assert meter.iterations > (1 if solver.method in ("LevenbergMarquardt", "GaussNewtonCG") else 5)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_respects_a_small_budget(solver):
    meter, status, _ = solve(solver, BY_NAME["extended-powell-singular"].at(12), budget=12.0)
    assert status in {"budget", "stopped"}
    assert meter.cost <= 12.0 + 3.0


def test_dense_solvers_have_a_size_limit():
    ours = {f"homestretch/{method}" for method in ("BFGS", "LevenbergMarquardt", "SelfScaledBroyden")}
    assert {s.name for s in SOLVERS if not s.takes(BY_NAME["trigonometric"].at(10_000))} == {"scipy/BFGS", *ours}


def test_a_crash_is_a_result():
    def crash(meter):
        meter.loss(meter.start())
        raise ZeroDivisionError("no luck")

    meter, status, detail = solve(Solver("torch", "crash", crash), BY_NAME["beale"].at(2))
    assert (status, detail) == ("failed", "ZeroDivisionError: no luck")
    assert meter.evaluations == 1


def test_an_optimizer_that_stands_still_is_stopped():
    meter = Meter(BY_NAME["beale"].at(2))
    assert run_optimizer(meter, lambda parameters: torch.optim.SGD(parameters, lr=0.0)).startswith("no change")


def test_an_optimizer_that_diverges_is_stopped():
    meter = Meter(BY_NAME["beale"].at(2))
    assert "finite" in run_optimizer(meter, lambda parameters: torch.optim.SGD(parameters, lr=1e200))


class TestNumpyObjective:
    def test_value_then_gradient_is_one_evaluation(self):
        problem = BY_NAME["beale"].at(2)
        meter = Meter(problem)
        objective = NumpyObjective(meter)
        x = problem.start().numpy()
        assert objective.value(x) == pytest.approx(14.203125)
        assert meter.cost == pytest.approx(1 / 3)
        gradient = objective.gradient(x)
        assert meter.cost == pytest.approx(1.0)
        torch.testing.assert_close(torch.from_numpy(gradient), torch.func.grad(problem.loss)(problem.start()))

    def test_gradient_elsewhere_pays_for_its_own_forward(self):
        meter = Meter(BY_NAME["beale"].at(2))
        objective = NumpyObjective(meter)
        objective.value(meter.start().numpy())
        objective.gradient(meter.start().numpy() + 1)
        assert meter.cost == pytest.approx(4 / 3)

    def test_products_are_those_of_the_hessian_and_cost_3(self):
        problem = BY_NAME["wood"].at(4)
        meter = Meter(problem)
        objective = NumpyObjective(meter)
        hessian = torch.autograd.functional.hessian(problem.loss, problem.start())
        for row in torch.eye(4, dtype=torch.float64):
            product = objective.product(problem.start().numpy(), row.numpy())
            torch.testing.assert_close(torch.from_numpy(product), hessian @ row)
        assert (meter.cost, meter.products, meter.evaluations) == (12.0, 4, 0)
