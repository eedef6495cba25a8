from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import (
    LBFGS,
    Armijo,
    ConjugateGradient,
    GaussNewtonCG,
    GoldenSection,
    LevenbergMarquardt,
    NewtonCG,
    NystromPreconditioner,
    Objective,
    SelfScaledBroyden,
    StopReason,
    StrongWolfe,
)
from homestretch.cost import FORWARD, CostMeter
from homestretch.descent.limits import Limits, Purse
from tests.descent.test_loop import Problem, rosenbrock

METHODS = {
    "cg": ConjugateGradient,
    "golden section": lambda p, **k: ConjugateGradient(p, search=GoldenSection(), **k),
    "armijo": lambda p, **k: LBFGS(p, search=Armijo(), **k),
    "strong wolfe": lambda p, **k: LBFGS(p, search=StrongWolfe(), **k),
    "lbfgs": LBFGS,
    "broyden": SelfScaledBroyden,
    "newton": NewtonCG,
    "newton, sketched": lambda p, **k: NewtonCG(p, nystrom=NystromPreconditioner(4, every=2), **k),
    "gauss-newton": GaussNewtonCG,
}


def objective(seed=1):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    inputs, targets = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 2, dtype=torch.float64)
    return model, Objective(model, mse_loss, (inputs, targets))


@pytest.mark.parametrize("budget", [1.0, 2.0, 3.7, 7.0, 11.4, 25.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_budget_is_overspent_by_one_evaluation_at_most(method, budget):
    model, function = objective()
    start = float(function())
    function.meter.gradient_equivalents = 0.0
    optimizer = METHODS[method](model.parameters(), budget=budget)
    loss = optimizer.minimize(function, 500)
    assert optimizer.stop_reason is StopReason.BUDGET
    assert function.meter.gradient_equivalents <= budget + 1.0 + 1e-9
    assert loss <= start
    assert loss == pytest.approx(function.loss(), rel=1e-12)  # where the parameters are


@pytest.mark.parametrize("method", ["cg", "lbfgs", "golden section"])
def test_what_was_found_before_the_budget_ended_a_search_is_kept(method):
    """Each evaluation more can only lower the loss."""
    losses = []
    for budget in range(2, 9):
        model, function = objective()
        optimizer = METHODS[method](model.parameters(), budget=float(budget))
        losses.append(optimizer.minimize(function, 500))
    assert all(b <= a for a, b in itertools.pairwise(losses))
    assert losses[-1] < losses[0]


def test_a_loop_that_is_allowed_more_goes_on():
    model, function = objective()
    optimizer = LBFGS(model.parameters())
    optimizer.step(function)
    optimizer.allow(3.0)
    spent = function.meter.gradient_equivalents
    stopped = optimizer.minimize(function, 100)
    assert optimizer.stop_reason is StopReason.BUDGET
    assert function.meter.gradient_equivalents - spent <= 4.0
    cost = function.meter.gradient_equivalents
    assert optimizer.minimize(function, 5) == stopped
    assert function.meter.gradient_equivalents == cost
    optimizer.allow(math.inf)
    assert optimizer.minimize(function, 20) < stopped
    assert optimizer.stop_reason is None


def test_an_allowance_does_not_wake_a_loop_that_stopped_for_another_reason():
    problem = Problem(lambda x: (x**2).sum(), [3.0, 1.0])
    optimizer = LBFGS([problem.x])
    optimizer.minimize(problem, 50)
    reason = optimizer.stop_reason
    assert reason is StopReason.GRADIENT_ZERO
    optimizer.allow(100.0)
    assert optimizer.stop_reason is reason
    with pytest.raises(ValueError, match="gradient_equivalents"):
        optimizer.allow(-1.0)


def test_the_clock_ends_a_search_too(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    problem = Problem(rosenbrock, [-1.2, 1.0])
    optimizer = ConjugateGradient([problem.x], search=GoldenSection(tolerance=1e-8), seconds=12.0)
    optimizer.step(problem)
    assert optimizer.stop_reason is StopReason.SECONDS
    assert problem.meter.evaluations < 20


@pytest.mark.parametrize("search", [GoldenSection(), Armijo(), StrongWolfe()])
def test_a_stop_for_its_budget_leaves_the_best_point(search):
    problem = Problem(rosenbrock, [-1.2, 1.0, 0.4])
    optimizer = LBFGS([problem.x], search=search, budget=17.0)
    optimizer.minimize(problem, 100)
    lowest = min(r.loss for r in optimizer.history)
    assert problem.loss() == pytest.approx(lowest, rel=1e-12)


def test_limits_name_the_first_that_is_reached():
    limits = Limits(gradient_tolerance=1e-2, target_loss=0.5, budget=10.0, seconds=None)
    scalars = {"gradient_norm": 1.0, "first_gradient_norm": 1.0, "loss": 1.0, "since_best": 0, "spent": 0.0, "elapsed": 9e9}
    assert limits.reached(scalars) is None
    assert limits.reached({**scalars, "gradient_norm": 0.0}) is StopReason.GRADIENT_ZERO
    assert limits.reached({**scalars, "gradient_norm": 0.01}) is StopReason.GRADIENT_SMALL
    assert limits.reached({**scalars, "loss": 0.5}) is StopReason.TARGET
    assert limits.reached({**scalars, "since_best": 20}) is StopReason.NO_PROGRESS
    assert limits.reached({**scalars, "spent": 10.0}) is StopReason.BUDGET
    limits.allowed = 4.0
    assert limits.reached({**scalars, "spent": 4.0}) is StopReason.BUDGET


def test_a_budget_that_is_missed_by_rounding_is_spent():
    """Thirds of passes add up to a little less than they should, and one more evaluation was made."""
    limits, meter = Limits(gradient_tolerance=0.0, target_loss=None, budget=5.0, seconds=None), CostMeter()
    for _ in range(15):
        meter.count_forward()
    assert meter.gradient_equivalents < 5.0
    assert limits.purse({"spent": 0.0, "elapsed": 0.0}, CostMeter()).left == pytest.approx(5.0)
    assert limits.purse({"spent": meter.gradient_equivalents, "elapsed": 0.0}, CostMeter()).empty() is StopReason.BUDGET


def test_a_purse_sets_aside_what_is_still_to_be_paid():
    meter = CostMeter()
    purse = Purse(meter, 2.0, math.inf)
    assert purse.empty() is None
    assert purse.empty(reserve=2.0) is StopReason.BUDGET
    meter.count_forward()
    assert purse.left == pytest.approx(2.0 - FORWARD)
    assert Purse(meter, math.inf, -math.inf).empty() is StopReason.SECONDS


@pytest.mark.parametrize("method", [GaussNewtonCG, LevenbergMarquardt])
def test_what_cannot_climb_refuses_to(method):
    with pytest.raises(ValueError, match=r"maximize: .* NewtonCG or LBFGS"):
        method([nn.Parameter(torch.zeros(2))], maximize=True)


def test_a_target_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="target_loss must be a number, got nan"):
        LBFGS([torch.nn.Parameter(torch.ones(1))], target_loss=float("nan"))
