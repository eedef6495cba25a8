from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from homestretch import ConjugateGradient, Diagonal, GoldenSection, StopReason
from homestretch.directions.betas import BETAS
from homestretch.directions.conjugate_gradient import ConjugateGradientDirection
from tests.directions.problems import closure_of, rosenbrock

each_beta = pytest.mark.parametrize("beta", BETAS)


def reference_losses(problem, beta, factor, iterations, restart_every):
    """Plain conjugate gradients on one flat vector; each step is ``factor`` times the exact one."""
    formulas = {
        "fletcher-reeves": lambda g, h, y, d: g @ g / (h @ h),
        "polak-ribiere": lambda g, h, y, d: max(g @ y / (h @ h), 0.0),
        "hestenes-stiefel": lambda g, h, y, d: max(g @ y / (d @ y), 0.0),
        "dai-yuan": lambda g, h, y, d: g @ g / (d @ y),
        "liu-storey": lambda g, h, y, d: max(g @ y / -(d @ h), 0.0),
        "hybrid": lambda g, h, y, d: max(0.0, min(g @ y / (d @ y), g @ g / (d @ y))),
        "hager-zhang-2005": lambda g, h, y, d: max(
            (y - 2 * d * (y @ y) / (d @ y)) @ g / (d @ y),
            -1 / (np.linalg.norm(d) * min(0.01, np.linalg.norm(h))),
        ),
        "hager-zhang": lambda g, h, y, d: max((y - 2 * d * (y @ y) / (d @ y)) @ g / (d @ y), 0.4 * (d @ h) / (d @ d)),
    }
    a, b, x = problem.a, problem.b, problem.x0.copy()
    g = a @ x - b
    d, losses, since = -g, [], 1
    for _ in range(iterations):
        x = x - factor * (g @ d) / (d @ a @ d) * d
        old, g = g, a @ x - b
        losses.append(0.5 * x @ a @ x - b @ x)
        fresh = since >= restart_every
        d_next = -g if fresh else -g + formulas[beta](g, old, g - old, d) * d
        if not fresh and d_next @ g >= 0:
            fresh, d_next = True, -g
        d, since = d_next, 1 if fresh else since + 1
    return losses


def losses_of(optimizer, problem, iterations):
    return [optimizer.step(problem) for _ in range(iterations)]


@each_beta
@pytest.mark.parametrize("factor", [0.8, 1.0])
@pytest.mark.parametrize("restart_every", [4, 100])
def test_takes_the_steps_of_the_plain_method(beta, factor, restart_every, quadratic, exact):
    problem = quadratic()
    optimizer = ConjugateGradient(problem.parameters, beta, exact(factor), restart_every=restart_every)
    expected = reference_losses(problem, beta, factor, 9, restart_every)
    np.testing.assert_allclose(losses_of(optimizer, problem, 9), expected, rtol=1e-10)


@each_beta
@pytest.mark.parametrize("factor", [0.8, 1.0])
def test_a_preconditioner_is_a_change_of_variables(beta, factor, quadratic, exact, unpacked):
    diagonal = np.exp(np.random.default_rng(5).normal(size=10))
    problem, scaled = quadratic(), quadratic(scale=diagonal**-0.5)
    optimizer = ConjugateGradient(problem.parameters, beta, exact(factor), preconditioner=Diagonal(unpacked(diagonal)))
    plain = ConjugateGradient(scaled.parameters, beta, exact(factor))
    for _ in range(7):
        assert optimizer.step(problem) == pytest.approx(plain.step(scaled), rel=1e-10)
        np.testing.assert_allclose(problem.x, scaled.x * diagonal**-0.5, rtol=1e-8, atol=1e-10)


@each_beta
@pytest.mark.parametrize("seed", range(3))
def test_reaches_the_minimum_of_a_quadratic_in_n_iterations(beta, seed, quadratic, exact):
    problem = quadratic(seed)
    loss = losses_of(ConjugateGradient(problem.parameters, beta, exact()), problem, 10)[-1]
    assert loss == pytest.approx(problem.minimum, rel=1e-6)
    np.testing.assert_allclose(problem.x, np.linalg.solve(problem.a, problem.b), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("beta", ["fletcher-reeves", "polak-ribiere", "hestenes-stiefel"])
@pytest.mark.parametrize("seed", range(3))
def test_so_does_the_golden_section(beta, seed, quadratic):
    """A bracket of losses can be told from its middle down to the root of their rounding, so this is less exact."""
    problem = quadratic(seed, condition=10.0)
    search = GoldenSection(tolerance=1e-7, max_evaluations=200)
    loss = losses_of(ConjugateGradient(problem.parameters, beta, search), problem, 10)[-1]
    assert loss == pytest.approx(problem.minimum, rel=1e-6)


@each_beta
def test_finds_the_minimum_that_scipy_finds(beta):
    start = [1.3, 0.7, 0.8, 1.9, 1.2]
    peer = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="CG", options={"gtol": 1e-6})
    x, closure = closure_of(rosenbrock, start)
    optimizer = ConjugateGradient([x], beta, target_loss=1e-12)
    optimizer.minimize(closure, 2000)
    assert optimizer.stop_reason is StopReason.TARGET
    np.testing.assert_allclose(x.detach().numpy(), peer.x, atol=1e-4)


@pytest.mark.parametrize("start", [[1.3, 0.7, 0.8, 1.9, 1.2], [-1.2, 1.0] * 4])
def test_the_default_needs_no_more_evaluations_than_scipys(start):
    peer = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="CG", options={"gtol": 1e-5})
    x, closure = closure_of(rosenbrock, start)
    optimizer = ConjugateGradient([x], target_loss=float(peer.fun))
    optimizer.minimize(closure, 2000)
    assert optimizer.stop_reason is StopReason.TARGET
    assert sum(r.gradients for r in optimizer.history) <= 1.1 * peer.njev


def test_a_beta_of_ones_own(quadratic, exact):
    steepest, fresh = quadratic(), quadratic()
    zero = ConjugateGradient(steepest.parameters, lambda terms: 0.0, exact())
    always = ConjugateGradient(fresh.parameters, "hager-zhang", exact(), restart_every=1)
    assert losses_of(zero, steepest, 5) == pytest.approx(losses_of(always, fresh, 5), rel=1e-14)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_beta_that_is_not_finite_restarts(bad, quadratic, exact):
    problem = quadratic()
    optimizer = ConjugateGradient(problem.parameters, lambda terms: bad, exact())
    losses = losses_of(optimizer, problem, 3)
    assert all(b < a for a, b in itertools.pairwise(losses))
    assert [r.restart for r in optimizer.history] == ["first iteration"] + ["beta is not finite"] * 2


def test_a_beta_that_divides_by_zero_restarts(quadratic, exact):
    problem = quadratic()
    optimizer = ConjugateGradient(problem.parameters, lambda terms: 1 / 0, exact())
    losses_of(optimizer, problem, 2)
    assert optimizer.history[-1].restart == "beta is not finite"


def test_a_direction_that_goes_uphill_restarts(quadratic, exact):
    problem = quadratic()
    optimizer = ConjugateGradient(problem.parameters, lambda terms: 1e6, exact(1.9))
    losses_of(optimizer, problem, 2)
    assert "downhill" in optimizer.history[-1].restart
    assert optimizer.history[-1].beta == 0.0


def test_powell_restarts_where_gradients_are_far_from_orthogonal(quadratic, exact):
    problem = quadratic()
    inexact = ConjugateGradient(problem.parameters, "polak-ribiere", exact(0.5), powell=0.2)
    losses_of(inexact, problem, 4)
    assert "Powell" in inexact.history[-1].restart
    problem = quadratic()
    precise = ConjugateGradient(problem.parameters, "polak-ribiere", exact(), powell=0.2)
    losses_of(precise, problem, 4)
    assert not any("Powell" in r.restart for r in precise.history)


def test_restarts_after_six_times_the_number_of_parameters():
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))

    def closure():
        x.grad = None
        with torch.enable_grad():
            loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
            loss.backward()
        return loss

    optimizer = ConjugateGradient([x])
    optimizer.minimize(closure, 13)
    restarts = {r.iteration: r.restart for r in optimizer.history if r.restart}
    assert restarts == {1: "first iteration", 13: "12 iterations since the last restart"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": "fletcher"}, "beta must be a function or one of"),
        ({"restart_every": 0}, "restart_every"),
        ({"powell": 0.0}, "powell"),
    ],
)
def test_refuses_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ConjugateGradientDirection(**options)
