from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn

from homestretch import AtEpoch, Descent, HagerZhang, StopReason
from homestretch.directions import LBFGSDirection
from homestretch.line import SearchStatus
from homestretch.swap import Observation
from tests.docs.snippets import DOCS, snippets

PAGE = DOCS.parent / "CONTRIBUTING.md"
CONDITION = torch.logspace(0, 3, 20, dtype=torch.float64)


@pytest.fixture(scope="module")
def parts():
    names: dict = {}
    for title, source in snippets(PAGE):
        exec(compile(source, f"{PAGE.name}, {title}", "exec"), names)
    return names


def quadratic():
    p = nn.Parameter(torch.ones(20, dtype=torch.float64))

    def closure():
        p.grad = None
        loss = 0.5 * (CONDITION * p**2).sum()
        loss.backward()
        return loss

    return p, closure


def test_the_direction_solves_a_quadratic_and_says_why_it_ends(parts):
    p, closure = quadratic()
    optimizer = Descent([p], parts["BarzilaiBorweinDirection"](), parts["Halving"](), gradient_tolerance=1e-6)
    loss = optimizer.minimize(closure, iterations=1000)
    assert optimizer.stop_reason is StopReason.GRADIENT_SMALL
    assert loss < 1e-6


def test_the_directions_step_is_the_one_published(parts):
    p, closure = quadratic()
    optimizer = Descent([p], parts["BarzilaiBorweinDirection"](), HagerZhang())
    optimizer.step(closure)
    before, gradient = p.detach().clone(), p.grad.clone()
    optimizer.step(closure)
    s, y = p.detach() - before, p.grad - gradient
    assert optimizer.scalars["next_step"] == pytest.approx(float(s @ s / (s @ y)), rel=1e-9)


def test_the_direction_survives_a_reload(parts):
    p, closure = quadratic()
    optimizer = Descent([p], parts["BarzilaiBorweinDirection"](), HagerZhang())
    optimizer.minimize(closure, iterations=5)
    buffer = io.BytesIO()
    torch.save({"p": p.data, "optimizer": optimizer.state_dict()}, buffer)
    expected = optimizer.minimize(closure, iterations=5)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    q, other = quadratic()
    again = Descent([q], parts["BarzilaiBorweinDirection"](), HagerZhang())
    q.data.copy_(saved["p"])
    again.load_state_dict(saved["optimizer"])
    assert again.minimize(other, iterations=5) == expected


def test_the_search_goes_with_any_direction(parts):
    p, closure = quadratic()
    start = float(closure().detach())
    optimizer = Descent([p], LBFGSDirection(), parts["Halving"]())
    assert optimizer.minimize(closure, iterations=100) < 1e-3 * start


def test_the_search_gives_up_on_a_line_that_only_rises(parts):
    class Rising:
        start_loss, start_slope, first_step, scaled, noise, cheap_loss = 0.0, -1.0, 1.0, False, 0.0, True

        def loss(self, step):
            return step

    assert parts["Halving"](5)(Rising()).status is SearchStatus.NO_DECREASE


@pytest.mark.parametrize(("rate", "swap"), [(None, False), (1e-2, False), (1e-3, True)])
def test_the_rule_decides_with_a_reason(parts, rate, swap):
    rule = parts["AtRate"](1e-3)
    decision = rule.observe(Observation(epoch=1, loss=1.0, gradient_norm=1.0, cost=1.0, learning_rate=rate))
    assert decision.swap is swap
    assert decision.reason
    assert type(rule).__mro__[1:] == AtEpoch.__mro__[1:]


def test_the_problem_has_its_minimum_where_it_says(parts):
    function = parts["cubic_valley"]
    problem = function.at(2)
    assert problem.minima == (0.0,)
    assert len(function.residuals(function.start(2))) == problem.rows
    assert math.isclose(float(function.residuals(torch.ones(2, dtype=torch.float64)).square().sum()), 0.0)
