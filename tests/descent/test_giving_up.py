"""What the loop tries before it stops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import LBFGS, Descent, StopReason
from homestretch.directions import Proposal
from homestretch.line import SearchResult, SearchStatus


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


def test_a_search_that_fails_and_gains_only_rounding_has_found_nothing():
    x, closure = problem(lambda x: 1.0 + 1e-12 * x.square().sum(), [1.0, 2.0])

    def tired(line):
        return SearchResult(1e-3, *line.loss_and_slope(1e-3), SearchStatus.LIMIT)

    optimizer = LBFGS([x], search=tired)
    optimizer.minimize(closure, 5)
    assert optimizer.stop_reason is StopReason.LIMIT
    assert len(optimizer.history) == 1
    assert x.tolist() == [1.0, 2.0]
