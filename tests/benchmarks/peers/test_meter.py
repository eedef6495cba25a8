from __future__ import annotations

import math

import pytest
import torch

from benchmarks.functions import BY_NAME
from benchmarks.peers.meter import Halt, Meter, TorchClosure, reaches


@pytest.fixture
def problem():
    return BY_NAME["rosenbrock"].at(2)


def evaluate_forever(meter):
    while True:
        meter.loss(meter.start())


def multiply_forever(gradient, x):
    while True:
        torch.autograd.grad(gradient, x, torch.ones_like(x), retain_graph=True)


def test_prices_by_what_autograd_does(problem):
    meter = Meter(problem)
    with torch.no_grad():
        meter.loss(meter.start())
    assert meter.cost == pytest.approx(1 / 3)
    x = meter.start().requires_grad_()
    loss = meter.loss(x)
    assert meter.cost == pytest.approx(2 / 3)
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    assert meter.cost == pytest.approx(4 / 3)
    for _ in range(2):
        torch.autograd.grad(gradient, x, torch.ones(2, dtype=torch.float64), retain_graph=True)
    assert meter.cost == pytest.approx(4 / 3 + 6)
    assert (meter.evaluations, meter.products) == (2, 2)


def test_counting_changes_no_derivative(problem):
    meter = Meter(problem)
    x = meter.start().requires_grad_()
    counted = torch.autograd.functional.hessian(meter.loss, x)
    assert torch.equal(counted, torch.autograd.functional.hessian(problem.loss, x))


def test_a_repeated_backward_may_be_declared_no_product(problem):
    meter = Meter(problem)
    meter.repeats_are_products = False
    x = meter.start().requires_grad_()
    loss = meter.loss(x)
    for _ in range(2):
        torch.autograd.grad(loss, x, retain_graph=True)
    assert meter.cost == pytest.approx(1 / 3 + 2 * 2 / 3)


def test_trace_has_each_new_lowest_at_its_full_cost(problem):
    meter = Meter(problem)
    points = [(-1.2, 1.0), (5.0, 5.0), (0.0, 0.0), (math.nan, 0.0), (0.5, 0.25)]
    for point in points:
        x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        meter.loss(x).backward()
    assert [cost for cost, _ in meter.trace] == [pytest.approx(cost) for cost in (1, 3, 5)]
    assert [loss for _, loss in meter.trace] == [pytest.approx(loss) for loss in (24.2, 1.0, 0.25)]
    assert meter.best == 0.25
    assert meter.best_point is not None
    assert meter.best_point.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("limits", "status"), [({"budget": 2.0}, "budget"), ({"seconds": 0.0}, "time"), ({"budget": 0.3}, "budget")]
)
def test_ends_with_its_reason(problem, limits, status):
    meter = Meter(problem, **limits)
    with pytest.raises(Halt, match=status):
        evaluate_forever(meter)
    assert meter.cost <= limits.get("budget", 1.0) + 1


def test_ends_at_the_first_evaluation_after_the_solution(problem):
    meter = Meter(problem)
    solution = torch.ones(2, dtype=torch.float64, requires_grad=True)
    meter.loss(solution).backward()
    with pytest.raises(Halt, match="solved"):
        meter.loss(meter.start())
    assert meter.cost == pytest.approx(1.0)


def test_products_alone_spend_the_budget_too(problem):
    meter = Meter(problem, budget=7.0)
    x = meter.start().requires_grad_()
    (gradient,) = torch.autograd.grad(meter.loss(x), x, create_graph=True)
    with pytest.raises(Halt, match="budget"):
        multiply_forever(gradient, x)
    assert meter.products == 2


def test_a_function_that_counts_by_itself_pays_for_what_it_showed(problem):
    meter = Meter(problem, budget=6.0)
    meter.observe(meter.start(), 24.2)
    meter.spend(1.0)
    meter.observe(meter.start(), 30.0)  # higher: nothing new
    meter.spend(1 / 3)
    meter.observe(torch.zeros(2), 1.0)
    meter.spend(2.0)
    meter.spend(3.0)  # a product at the same point is no part of what finding it cost
    assert [cost for cost, _ in meter.trace] == pytest.approx([1.0, 10 / 3])
    assert (meter.best, meter.evaluations) == (1.0, 3)
    assert meter.best_point.tolist() == [0.0, 0.0]
    with pytest.raises(Halt, match="budget"):
        meter.observe(meter.start(), 24.2)


def test_closure_serves_both_conventions(problem):
    meter = Meter(problem)
    closure = TorchClosure(meter)
    assert closure(False).item() == pytest.approx(24.2)
    assert closure.loss() == pytest.approx(24.2)
    assert closure.parameter.grad is None
    assert meter.cost == pytest.approx(2 / 3)
    first = closure()
    gradient = closure.parameter.grad.clone()
    closure()
    assert not first.requires_grad
    assert torch.equal(closure.parameter.grad, gradient)
    assert meter.cost == pytest.approx(2 / 3 + 2)
    assert closure.meter.gradient_equivalents == pytest.approx(meter.cost)


@pytest.mark.parametrize(
    ("loss", "value", "reached"),
    [(1e-8, 0.0, True), (1.1e-8, 0.0, False), (100 + 1e-6, 100.0, True), (100 + 1.1e-6, 100.0, False), (-5.0, 0.0, True)],
)
def test_reaches(loss, value, reached):
    assert reaches(loss, value) is reached
