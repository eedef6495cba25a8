from __future__ import annotations

import math

import pytest

from homestretch.line import SearchStatus
from homestretch.searches import HagerZhang


@pytest.mark.parametrize("number", "123456")
@pytest.mark.parametrize("sigma", [0.1, 0.9])
@pytest.mark.parametrize("first_step", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("cheap_loss", [True, False])
def test_the_step_meets_the_wolfe_conditions(number, sigma, first_step, cheap_loss, line, more_thuente):
    phi, slope = more_thuente[number]
    delta = 0.1 if number < "4" else 1e-3  # the last three fall by less than a tenth of what the slope promises
    result = HagerZhang(delta, sigma)(line(phi, slope, first_step, cheap_loss=cheap_loss))
    assert slope(result.step) >= sigma * slope(0.0)
    if result.status is SearchStatus.CONVERGED:
        assert phi(result.step) <= phi(0.0) + delta * result.step * slope(0.0)
    else:
        assert result.status is SearchStatus.ROUNDING
        assert slope(result.step) <= (2 * delta - 1) * slope(0.0)
        assert abs(phi(result.step) - phi(0.0)) <= 1e-3 * abs(phi(0.0))


@pytest.mark.parametrize("middle", [1e-5, 0.3, 1.0, 17.0])
def test_a_parabola_takes_a_probe_and_a_gradient(middle, line):
    tried = line(lambda a: (a - middle) ** 2, lambda a: 2 * (a - middle), 1.0)
    result = HagerZhang()(tried)
    assert result.step == pytest.approx(middle, rel=1e-6)
    assert (len(tried.forwards), len(tried.gradients)) == (1, 1 if middle > 1e-3 else 2)


@pytest.mark.parametrize("middle", [0.3, 1.0, 17.0])
def test_where_losses_are_dear_the_probe_is_graded(middle, line):
    tried = line(lambda a: (a - middle) ** 2, lambda a: 2 * (a - middle), 1.0, cheap_loss=False)
    result = HagerZhang()(tried)
    assert result.step == pytest.approx(middle, rel=1e-6)
    assert tried.gradients == [0.5, result.step]


def test_a_graded_probe_at_the_minimum_is_the_step(line):
    tried = line(lambda a: (a - 0.5) ** 2, lambda a: 2 * (a - 0.5), 1.0, cheap_loss=False)
    assert HagerZhang()(tried).step == 0.5
    assert tried.gradients == [0.5]


def test_a_step_that_a_method_knows_is_tried_first(line):
    tried = line(lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1), 1.2, scaled=True)
    assert HagerZhang()(tried).step == 1.2
    assert tried.evaluations == 1


def slow_reference(line, delta, sigma, expand, theta, gamma):
    """The published stages, letter by letter, with secants only; every interval it goes through."""
    phi, slope, ceiling = line.phi, line.slope, line.start_loss + line.noise
    tried = []

    def done(a):
        tried.append(a)
        wolfe = phi(a) - phi(0.0) <= delta * a * slope(0.0) and slope(a) >= sigma * slope(0.0)
        close = abs(phi(a) - phi(0.0)) <= 1e-3 * abs(phi(0.0))
        return wolfe or (close and (2 * delta - 1) * slope(0.0) >= slope(a) >= sigma * slope(0.0) and phi(a) <= ceiling)

    def cut(a, b):
        while True:
            d = (1 - theta) * a + theta * b
            if done(d):
                raise StopIteration
            if slope(d) >= 0:
                return a, d
            a, b = (d, b) if phi(d) <= ceiling else (a, d)

    def update(a, b, c):
        if not a < c < b:
            return a, b
        if done(c):
            raise StopIteration
        if slope(c) >= 0:
            return a, c
        return (c, b) if phi(c) <= ceiling else cut(a, c)

    def secant(a, b):
        return (a * slope(b) - b * slope(a)) / (slope(b) - slope(a))

    try:
        a, c = 0.0, line.first_step
        while True:
            if done(c):
                return tried
            if slope(c) >= 0:
                b = c
                break
            if phi(c) > ceiling:
                a, b = cut(a, c)
                break
            a, c = c, expand * c
        while True:
            old = a, b
            c = secant(a, b)
            new = update(a, b, c)
            if c == new[1]:
                new = update(*new, secant(b, new[1]))
            elif c == new[0]:
                new = update(*new, secant(a, new[0]))
            if new[1] - new[0] > gamma * (b - a):
                new = update(*new, 0.5 * (new[0] + new[1]))
            a, b = new
            assert (a, b) != old
    except StopIteration:
        return tried


@pytest.mark.parametrize("number", "123456")
@pytest.mark.parametrize("first_step", [1e-3, 0.1, 10.0, 1e3])
def test_goes_through_the_published_stages(number, first_step, line, more_thuente, monkeypatch):
    """With the cubic replaced by a secant, as first published, the trials are those of a literal transcription."""
    from homestretch.searches import hager_zhang, interpolation

    monkeypatch.setattr(hager_zhang, "minimum", lambda a, b, _noise: interpolation.secant(a, b))
    delta = 0.1 if number < "4" else 1e-3
    numbers = {"delta": delta, "sigma": 0.11, "expand": 5.0, "theta": 0.5, "gamma": 0.66}
    tried = line(*more_thuente[number], first_step, scaled=True)
    HagerZhang(**numbers)(tried)
    expected = slow_reference(line(*more_thuente[number], first_step), **numbers)
    assert tried.gradients == pytest.approx(expected, rel=1e-12)


def test_gives_up_where_no_minimum_is_low_enough(line, more_thuente):
    """The step's loss is lower than the start's, but by less than a tenth of what the slope promises."""
    phi, slope = more_thuente["6"]
    tried = line(phi, slope, 1.0)
    result = HagerZhang(0.1, 0.1)(tried)
    assert result.status is SearchStatus.RESOLVED
    assert phi(result.step) < phi(0.0)
    assert tried.evaluations < 25


@pytest.mark.parametrize(
    ("name", "value"),
    [("delta", 0.5), ("sigma", 0.05), ("expand", 1.0), ("theta", 1.0), ("gamma", 0.0), ("max_evaluations", 0)],
)
def test_refuses_bad_numbers(name, value):
    for bad in (value, math.nan):
        with pytest.raises(ValueError, match=name):
            HagerZhang(**{name: bad})
