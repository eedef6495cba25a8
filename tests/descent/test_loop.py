from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import rosen, rosen_der
from torch import nn

from homestretch import (
    LBFGS,
    Armijo,
    ConjugateGradient,
    Descent,
    Diagonal,
    GoldenSection,
    NewtonCG,
    Objective,
    SelfScaledBroyden,
    StopReason,
)
from homestretch.cost import CostMeter
from homestretch.errors import NonFiniteError, UnsupportedError


class Problem:
    """A function of one parameter with a meter and a forward-only loss."""

    def __init__(self, f, start, dtype=torch.float64):
        self.f = f
        self.x = nn.Parameter(torch.as_tensor(start, dtype=dtype))
        self.meter = CostMeter()
        self.version = 0

    def __call__(self):
        self.x.grad = None
        with torch.enable_grad():
            loss = self.f(self.x)
            loss.backward()
        self.meter.count_gradient()
        return loss.detach()

    def loss(self):
        self.meter.count_forward()
        with torch.no_grad():
            return float(self.f(self.x))


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


METHODS = {
    "cg": lambda p, **k: ConjugateGradient(p, **k),
    "golden fletcher-reeves": lambda p, **k: ConjugateGradient(p, "fletcher-reeves", GoldenSection(), **k),
    "lbfgs": lambda p, **k: LBFGS(p, **k),
}


@pytest.mark.parametrize("method", METHODS)
def test_reaches_the_minimum_of_rosenbrock(method):
    problem = Problem(rosenbrock, [-1.2, 1.0, -1.2, 1.0])
    optimizer = METHODS[method]([problem.x], target_loss=1e-10)
    loss = optimizer.minimize(problem, 3000)
    assert loss <= 1e-10
    assert optimizer.stop_reason is StopReason.TARGET
    np.testing.assert_allclose(problem.x.detach().numpy(), 1.0, atol=1e-3)
    np.testing.assert_allclose(problem.x.grad.numpy(), rosen_der(problem.x.detach().numpy()), atol=1e-9)
    assert loss == pytest.approx(rosen(problem.x.detach().numpy()), abs=1e-12)


@pytest.mark.parametrize("method", [*METHODS.values(), SelfScaledBroyden])
def test_the_record_measures_the_step(method):
    """Slope, cosine and gradient norm, whether the method or the loop computed them."""
    problem = Problem(rosenbrock, [-1.2, 1.0, 0.5])
    optimizer = method([problem.x])
    optimizer.evaluate(problem)
    for _ in range(8):
        x, g = problem.x.detach().clone(), problem.x.grad.clone()
        optimizer.step(problem)
        record = optimizer.history[-1]
        d = (problem.x.detach() - x) / record.step
        assert record.slope == pytest.approx(float(g @ d), rel=1e-8)
        assert record.cosine == pytest.approx(-float(g @ d / (g.norm() * d.norm())), rel=1e-8)
        assert record.gradient_norm == pytest.approx(float(problem.x.grad.norm()), rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_never_goes_up_and_the_record_says_what_it_cost(method):
    problem = Problem(rosenbrock, [-1.2, 1.0, 0.5])
    optimizer = METHODS[method]([problem.x])
    start = problem.loss()
    problem.meter = CostMeter()
    losses = [optimizer.step(problem) for _ in range(30)]
    assert losses[0] < start
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(losses))
    forwards = sum(r.forwards for r in optimizer.history)
    gradients = sum(r.gradients for r in optimizer.history)
    assert problem.meter.forwards == forwards
    assert problem.meter.gradients == gradients + 1  # the first point
    assert optimizer.history[-1].gradient_equivalents == pytest.approx(problem.meter.gradient_equivalents)


def stops(f, start, dtype=torch.float64, **options):
    problem = Problem(f, start, dtype)
    optimizer = LBFGS([problem.x], **options)
    optimizer.minimize(problem, 500)
    return optimizer.stop_reason, problem, optimizer


@pytest.mark.parametrize(
    ("f", "start", "options", "reason"),
    [
        (lambda x: (x**2).sum(), [0.0, 0.0], {}, StopReason.GRADIENT_ZERO),
        (lambda x: (x**2).sum() + 1, [3.0, 1.0], {"target_loss": 5.0}, StopReason.TARGET),
        (rosenbrock, [-1.2, 1.0], {"budget": 5.0}, StopReason.BUDGET),
        (rosenbrock, [-1.2, 1.0], {"seconds": 0.0}, StopReason.SECONDS),
        (rosenbrock, [-1.2, 1.0], {"gradient_tolerance": 1e-2}, StopReason.GRADIENT_SMALL),
        (lambda x: (x.abs() * torch.tensor([1.0, 2.0])).sum() + 1, [1.0, 1.3], {}, StopReason.NO_DECREASE),
        (lambda x: -torch.exp(x).sum(), [1.0], {}, StopReason.UNBOUNDED),
    ],
)
def test_says_why_it_stopped(f, start, options, reason):
    found, problem, _optimizer = stops(f, start, **options)
    if reason is StopReason.NO_DECREASE:
        assert found in (reason, StopReason.NO_PROGRESS, StopReason.GRADIENT_ZERO, StopReason.LIMIT)
    else:
        assert found is reason
    assert found.value
    assert torch.isfinite(problem.x).all()


def test_a_stopped_loop_costs_nothing_more_and_changes_nothing():
    _, problem, optimizer = stops(rosenbrock, [-1.2, 1.0], budget=5.0)
    before, cost = problem.x.detach().clone(), problem.meter.gradient_equivalents
    optimizer.step(problem)
    assert torch.equal(before, problem.x)
    assert problem.meter.gradient_equivalents == cost


def test_domain_border_is_respected():
    problem = Problem(lambda x: (x - torch.log(x)).sum(), [100.0])
    optimizer = ConjugateGradient([problem.x])
    optimizer.minimize(problem, 200)
    assert problem.x.item() == pytest.approx(1.0, abs=1e-6)


def test_a_start_that_is_not_finite_is_an_error():
    problem = Problem(lambda x: torch.log(x).sum(), [-1.0])
    with pytest.raises(NonFiniteError, match="cannot go on from here"):
        LBFGS([problem.x]).step(problem)


def test_an_error_after_a_change_says_what_changed():
    problem = Problem(lambda x: x.square().sum(), [-1.0])
    optimizer = LBFGS([problem.x])
    optimizer.step(problem)
    problem.f = lambda x: torch.log(x - 5.0).sum()
    optimizer.renew()
    with pytest.raises(NonFiniteError, match=r"cannot go on from here \(the function changed\)"):
        optimizer.step(problem)


def test_float32_does_not_stop_while_the_gradient_is_large():
    _, problem, _optimizer = stops(rosenbrock, [-1.2, 1.0], dtype=torch.float32)
    assert float(problem.loss()) < 1e-9


def test_changed_parameters_are_noticed():
    problem = Problem(rosenbrock, [-1.2, 1.0])
    optimizer = LBFGS([problem.x])
    optimizer.step(problem)
    with torch.no_grad():
        problem.x.copy_(torch.tensor([3.0, -2.0], dtype=torch.float64))
    loss = optimizer.step(problem)
    assert loss <= rosen([3.0, -2.0])
    assert loss == pytest.approx(rosen(problem.x.detach().numpy()))


def test_a_changed_function_is_noticed_by_its_version():
    problem = Problem(lambda x: ((x - 1) ** 2).sum(), [4.0])
    optimizer = ConjugateGradient([problem.x])
    optimizer.minimize(problem, 20)
    problem.f = lambda x: ((x + 2) ** 2).sum()
    problem.version += 1
    optimizer.minimize(problem, 20)
    assert problem.x.item() == pytest.approx(-2.0)


def test_zeroed_gradients_between_steps_cost_nothing_and_change_nothing():
    plain, zeroed = (Problem(rosenbrock, [-1.2, 1.0]) for _ in range(2))
    first, second = LBFGS([plain.x]), LBFGS([zeroed.x])
    for _ in range(10):
        first.step(plain)
        second.zero_grad()
        second.step(zeroed)
    assert torch.equal(plain.x, zeroed.x)
    assert plain.meter.gradients == zeroed.meter.gradients


def test_maximize_climbs():
    x = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    optimizer = ConjugateGradient([x], maximize=True, target_loss=-1e-12)

    def closure():
        loss = -(x**2).sum()
        loss.backward()
        return loss

    assert optimizer.minimize(closure, 50) >= -1e-12
    assert optimizer.stop_reason in (StopReason.TARGET, StopReason.GRADIENT_ZERO)
    assert optimizer.history[-1].loss > -1e-12


@pytest.mark.parametrize("argument", ["rounding", "gradient_tolerance", "budget", "seconds"])
def test_negative_numbers_are_refused(argument):
    with pytest.raises(ValueError, match=argument):
        LBFGS([nn.Parameter(torch.zeros(1))], **{argument: -1.0})


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda p: LBFGS(p, budget="5"), TypeError, "budget must be a number, got '5'"),
        (lambda p: LBFGS(p, target_loss="low"), TypeError, "target_loss must be a number"),
        (lambda p: LBFGS(p, preconditioner="adam"), TypeError, "preconditioner must be one such as Diagonal.*got 'adam'"),
        (lambda p: LBFGS(p, preconditioner=Diagonal), TypeError, "preconditioner must be one such as"),
        (lambda p: ConjugateGradient(p, beta=None), ValueError, "beta must be a function or one of"),
        (lambda p: ConjugateGradient(p, restart_every=2.5), ValueError, "restart_every must be a whole number"),
        (lambda p: NewtonCG(p, max_products=1.5), ValueError, "max_products must be a whole number"),
        (lambda p: NewtonCG(p, nystrom=5), TypeError, "nystrom must be a NystromPreconditioner"),
        (lambda p: LBFGS(p, search=Armijo(max_evaluations=2.5)), ValueError, "max_evaluations must be a whole number"),
        (lambda p: LBFGS(p, search=GoldenSection(max_evaluations=4.5)), ValueError, "max_evaluations must be a whole number"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_at_the_door(make, error, match):
    """They were found at the first step, in other words, or not at all."""
    with pytest.raises(error, match=match):
        make([nn.Parameter(torch.zeros(2))])


def test_scaling_of_the_function_changes_nothing_in_float64():
    def path(scale):
        problem = Problem(lambda x: scale * rosenbrock(x), [-1.2, 1.0, 0.3])
        optimizer = LBFGS([problem.x])
        for _ in range(15):
            optimizer.step(problem)
        return problem.x.detach()

    assert torch.equal(path(1.0), path(2.0**20))


def test_is_a_torch_optimizer_with_a_direction_and_a_search():
    optimizer = LBFGS([nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert isinstance(optimizer, Descent)
    assert optimizer.limits.gradient_tolerance == 0.0


def test_evaluate_gives_the_loss_that_the_next_step_starts_from_for_no_more():
    results = []
    for evaluated in (True, False):
        model = nn.Linear(2, 1).double()
        with torch.no_grad():
            model.weight.fill_(1.0), model.bias.fill_(0.5)
        objective = Objective(model, nn.functional.mse_loss, (torch.eye(2).double(), torch.zeros(2, 1).double()))
        optimizer = LBFGS(model.parameters())
        if evaluated:
            assert optimizer.evaluate(objective) == pytest.approx(2.25)
            assert objective.meter.gradient_equivalents == 1.0
        results.append((optimizer.step(objective), objective.meter.gradient_equivalents, optimizer.scalars["spent"]))
    assert results[0] == results[1]


def test_the_tolerance_stays_that_of_the_first_gradient():
    """A function that changes on the way does not ask for more."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = LBFGS([x], gradient_tolerance=1e-2)

    def closure():
        loss = 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2
        x.grad = None
        loss.backward()
        return loss

    optimizer.minimize(closure, 100)
    iterations = len(optimizer.history)
    assert optimizer.stop_reason is StopReason.GRADIENT_SMALL
    optimizer.renew()
    optimizer.minimize(closure, 100)
    assert optimizer.stop_reason is StopReason.GRADIENT_SMALL
    assert len(optimizer.history) == iterations


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_breaks_a_search_off_leaves_the_last_accepted_point(error):
    """And nothing of the search: the run that goes on equals one that was left alone."""

    def run(fails_at):
        x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
        optimizer, calls, losses = LBFGS([x]), [0], []

        def closure():
            calls[0] += 1
            if calls[0] == fails_at:
                raise error("enough")
            loss = 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2
            x.grad = None
            loss.backward()
            return loss

        for _ in range(12):
            try:
                losses.append(optimizer.step(closure))
            except error:
                assert float(rosenbrock(x).detach()) == losses[-1]
                losses.append(optimizer.step(closure))
        return losses, [record.changed for record in optimizer.history]

    assert run(17) == run(0)


def test_a_restart_keeps_how_often_the_function_was_said_to_change():
    optimizer = LBFGS([torch.ones(3, dtype=torch.float64, requires_grad=True)])
    optimizer.renew()
    optimizer.renew()
    optimizer.restart()
    assert optimizer.scalars["renewals"] == 2
    assert optimizer.scalars["spent"] == 0.0


def test_a_step_without_a_closure_is_refused_where_there_is_a_gradient():
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = LBFGS([x])
    x.grad = torch.zeros_like(x)
    assert optimizer.step() is None  # torch's distributed checkpoints make the state so
    x.square().sum().backward()
    with pytest.raises(UnsupportedError, match=r"LBFGS.step\(\) needs a closure"):
        optimizer.step()
