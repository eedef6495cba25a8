"""What the loop tries before it stops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import LBFGS, Armijo, Descent, GoldenSection, HagerZhang, Objective, StopReason, StrongWolfe
from homestretch.directions import Proposal
from homestretch.line import SearchResult, SearchStatus
from tests.directions.problems import rosenbrock


class Stuck:
    """Goes along the second unknown, of which the loss knows nothing, until it is told to forget; then downhill."""

    name = "stuck"

    def __init__(self, cured):
        self.cured, self.resets = cured, 0

    def bind(self, memory):
        self.memory = memory

    def propose(self, point):
        downhill = self.cured and self.resets % 2
        vector = torch.tensor([-1.0, 0.0] if downhill else [-1e-30, 1.0], dtype=torch.float64) * point.gradient[0][0]
        return Proposal([vector], 0.5)

    def accept(self, step, point):
        if self.cured and self.resets % 2:
            self.resets += 1

    def reset(self):
        self.resets += 1


def problem(f, start):
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def closure():
        x.grad = None
        loss = f(x)
        loss.backward()
        return loss

    return x, closure


def take_the_first_step(line):
    return SearchResult(line.first_step, *line.loss_and_slope(line.first_step), SearchStatus.CONVERGED)


@pytest.mark.parametrize("cured", [True, False])
def test_where_nothing_is_gained_the_direction_starts_afresh_before_the_loop_stops(cured):
    x, closure = problem(lambda x: 1.0 + x[0].square(), [1.0, 0.0])
    optimizer = Descent([x], Stuck(cured), take_the_first_step)
    optimizer.minimize(closure, 100)
    restarts = [r.iteration for r in optimizer.history if "without a new lowest loss" in r.restart]
    assert restarts == [21]
    if cured:
        assert x.detach()[0] == 0.0
        assert optimizer.stop_reason is StopReason.GRADIENT_ZERO
    else:
        assert len(optimizer.history) == 40
        assert optimizer.stop_reason is StopReason.NO_PROGRESS


@pytest.mark.parametrize(
    ("f", "status", "reason"),
    [
        (lambda x: 1.0 + 1e-12 * x.square().sum(), SearchStatus.LIMIT, StopReason.NO_DECREASE),
        (lambda x: 1.0 + x.abs().sum(), SearchStatus.LIMIT, StopReason.LIMIT),
        (lambda x: 1.0 + x.abs().sum(), SearchStatus.RESOLVED, StopReason.NO_DECREASE),
    ],
    ids=["rounding", "tired", "told"],
)
def test_a_search_that_fails_and_gains_only_rounding_has_found_nothing(f, status, reason):
    x, closure = problem(f, [1.0, 2.0])

    def tired(line):
        return SearchResult(3.0, *line.loss_and_slope(3.0), status)

    optimizer = LBFGS([x], search=tired)
    optimizer.minimize(closure, 5)
    assert optimizer.stop_reason is reason
    assert len(optimizer.history) == 1
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("most", [3, 5, 8])
def test_a_search_of_few_evaluations_takes_no_bounded_loss_for_an_endless_one(most):
    """All its trials went further and lower; the loop stopped after one iteration, for the loss fell without bound."""
    x, closure = problem(rosenbrock, [-0.5, -0.5, -0.5, -0.5])
    optimizer = LBFGS([x], search=GoldenSection(max_evaluations=most))
    assert optimizer.minimize(closure, 100) < 1e-10
    assert optimizer.stop_reason is not StopReason.UNBOUNDED


@pytest.mark.parametrize("search", [StrongWolfe(curvature=0.1), HagerZhang(sigma=0.1)], ids=["strong-wolfe", "hager-zhang"])
def test_a_minimum_reached_to_rounding_is_no_kink(search):
    """Where two steps could not be told apart any more, the search was said to have used up its evaluations."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        b = torch.randn(3, generator=generator, dtype=torch.float64)
        x, closure = problem(lambda x, a=a, b=b: 0.5 * (a @ x).square().sum() + 0.1 * x.square().sum() - b @ x, [1.0, 0.0, 2.0])
        optimizer = LBFGS([x], search=search)
        optimizer.minimize(closure, 200)
        assert optimizer.stop_reason in (StopReason.NO_DECREASE, StopReason.NO_PROGRESS, StopReason.GRADIENT_ZERO)


class Entropy(nn.Module):
    """``sum x log(x / c) - x`` with its minimum at c, as it is often written: left of 0 it is 0 and its gradient NaN."""

    def __init__(self, lowest):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))
        self.lowest = lowest

    def forward(self, _):
        x = self.x
        return torch.where(x > 0.0, x * torch.log(x.clamp_min(0.0) / self.lowest) - x, 0.0).sum()


@pytest.mark.parametrize("search", [Armijo(), GoldenSection()], ids=["armijo", "golden-section"])
def test_a_step_to_where_only_the_loss_is_finite_is_shortened(search):
    """A search by forward passes alone takes it; the loop stopped at once, and said that no step lowers the loss."""
    model = Entropy(0.01)
    objective = Objective(model, lambda loss, _: loss, (torch.zeros(1, 1), torch.zeros(1, 1)))
    loss = LBFGS(model.parameters(), search=search).minimize(objective, 60)
    assert loss == pytest.approx(-0.02, rel=1e-9)
    assert model.x.tolist() == pytest.approx([0.01, 0.01], rel=1e-3)


def test_where_no_gradient_is_finite_that_is_the_reason():
    x, closure = problem(lambda x: (x if x.item() >= 1.0 else (x - x.detach()).sqrt()).sum(), [1.0])

    def first(line):
        return SearchResult(line.first_step, line.loss(line.first_step), None, SearchStatus.CONVERGED)

    optimizer = LBFGS([x], search=first)
    assert optimizer.minimize(closure, 5) == 1.0
    assert optimizer.stop_reason is StopReason.NON_FINITE
