from __future__ import annotations

import math

import pytest
import torch

from homestretch import vectors
from homestretch.line import Line


class Function:
    """``f(x) = sum x^4 / 4 - x`` over two tensors; NaN where an entry is above a border."""

    def __init__(self, dtype=torch.float64, border=math.inf):
        generator = torch.Generator().manual_seed(0)
        self.parameters = [torch.rand(s, generator=generator, dtype=dtype, requires_grad=True) for s in ((3,), (2, 2))]
        self.border = border

    def value(self):
        total = sum((p**4 / 4 - p).sum() for p in self.parameters)
        largest = max(float(p.detach().max()) for p in self.parameters)
        return total * math.nan if largest > self.border else total

    def __call__(self):
        for p in self.parameters:
            p.grad = None
        with torch.enable_grad():
            loss = self.value()
            loss.backward()
        return loss.detach()

    def loss(self):
        with torch.no_grad():
            return float(self.value())

    def gradient(self):
        return [p.grad for p in self.parameters]

    def at(self, start, direction, step):
        """Loss and slope by plain arithmetic, elsewhere."""
        xs = [s + step * d for s, d in zip(start, direction, strict=True)]
        loss = sum(float((x**4 / 4 - x).sum()) for x in xs)
        return loss, sum(float(((x**3 - 1) * d).sum()) for x, d in zip(xs, direction, strict=True))


def line_of(function, **options):
    loss = float(function())
    direction = [-g.clone() for g in function.gradient()]
    parameters = [p.detach() for p in function.parameters]
    slope = vectors.dot(function.gradient(), direction)
    start = vectors.clone(parameters)
    line = Line(
        function, parameters, function.gradient, start, direction,
        loss=loss, slope=slope, first_step=1.0, noise=0.0, **options,
    )  # fmt: skip
    return line, start, direction


def test_values_are_those_of_the_function():
    function = Function()
    line, start, direction = line_of(function)
    for step in (0.1, 2.0, 1e-3):
        loss, slope = function.at(start, direction, step)
        assert line.loss(step) == pytest.approx(loss, rel=1e-14)
        assert line.loss_and_slope(step) == pytest.approx((loss, slope), rel=1e-13)
    assert (line.forwards, line.gradients) == (3, 3)


def test_a_forward_pass_costs_a_gradient_where_losses_are_not_cheap():
    line, _, _ = line_of(Function(), cheap_loss=False)
    line.loss(0.5)
    assert (line.forwards, line.gradients) == (0, 1)


def test_every_step_starts_from_the_start():
    """In float32, where going back and forth would leave traces."""
    function = Function(torch.float32)
    line, start, direction = line_of(function)
    for step in (1e4, -3.0, 0.1):
        line.loss(step)
    for p, s, d in zip(function.parameters, start, direction, strict=True):
        assert torch.equal(p, torch.add(s, d, alpha=0.1))
    line.restore()
    assert all(torch.equal(p, s) for p, s in zip(function.parameters, start, strict=True))


@pytest.mark.parametrize("later", [[], [2.0], [2.0, 0.1], [0.1, 3.0]])
def test_commit_needs_no_evaluation_if_the_gradient_was_seen(later):
    function = Function()
    line, start, direction = line_of(function)
    seen = line.loss_and_slope(0.5)
    gradient = vectors.clone(function.gradient())
    for step in later:  # all of them higher
        line.loss_and_slope(step)
    line.loss(0.7)
    evaluations = line.gradients
    assert line.commit(0.5) == (*seen, vectors.norm(gradient))
    assert line.gradients == evaluations
    for p, s, d, g in zip(function.parameters, start, direction, gradient, strict=True):
        assert torch.equal(p, s + 0.5 * d)
        assert torch.equal(p.grad, g)


def test_commit_evaluates_a_step_whose_gradient_is_not_at_hand():
    function = Function()
    line, start, direction = line_of(function)
    line.loss(0.3)
    *seen, norm = line.commit(0.3)
    assert seen == pytest.approx(function.at(start, direction, 0.3))
    assert norm == vectors.norm(function.gradient())
    assert line.gradients == 1
    line.loss_and_slope(0.6)
    line.loss_and_slope(0.7)
    line.commit(2.0)
    assert line.gradients == 4


def test_what_is_not_finite_is_infinite_and_never_committed():
    function = Function(border=1.5)
    line, _, _ = line_of(function)
    assert line.loss(1e3) == math.inf
    loss, slope = line.loss_and_slope(1e3)
    assert loss == math.inf
    assert math.isnan(slope)
    assert line.best()[0] == 0.0
    assert not math.isfinite(line.commit(1e3)[0])


def test_a_step_without_a_gradient_is_shortened_until_there_is_one():
    function = Function(border=1.5)
    line, start, direction = line_of(function)
    step, loss, slope, norm = line.commit_finite(1e3, shorten=True)
    assert 0.0 < step < 1e3
    assert (loss, slope) == pytest.approx(function.at(start, direction, step))
    assert norm == vectors.norm(function.gradient())
    assert line.commit_finite(1e3, shorten=False)[0] == 0.0


def test_a_step_is_not_shortened_beyond_the_budget():
    line, _, _ = line_of(Function(border=1.5), spent=lambda reserve: True)
    assert line.commit_finite(1e3, shorten=True)[0] == 0.0
    assert line.gradients == 1


def test_minus_infinity_is_told_from_not_a_number():
    function = Function()
    line, _, _ = line_of(function)
    function.value = lambda: sum(p.sum() for p in function.parameters) * 0.0 - math.inf
    assert line.loss(1.0) == -math.inf
    loss, slope = line.loss_and_slope(1.0)
    assert loss == -math.inf
    assert math.isnan(slope)


def test_best_is_the_lowest_and_among_equals_the_shortest():
    line, _, _ = line_of(Function())
    for step in (3.0, 0.4, 0.9):
        line.loss(step)
    assert line.best()[0] == min((3.0, 0.4, 0.9), key=lambda a: line.seen[a])
    line.seen.update({0.2: -1e9, 0.1: -1e9})
    assert line.best() == (0.1, -1e9)
