from __future__ import annotations

import math

import numpy as np
import pytest

from homestretch.searches.interpolation import cubic, cubic_by_losses, minimum, quadratic, secant
from homestretch.searches.trials import Trial


def trials(polynomial, *steps):
    slope = polynomial.deriv()
    return [Trial(s, float(polynomial(s)), float(slope(s))) for s in steps]


def local_minimum(polynomial):
    roots = polynomial.deriv().roots()
    real = roots[np.isreal(roots)].real
    return next((float(r) for r in real if polynomial.deriv(2)(r) > 0), None)


def random_polynomials(degree):
    generator = np.random.default_rng(degree)
    return [np.polynomial.Polynomial(generator.normal(size=degree + 1)) for _ in range(100)]


@pytest.mark.parametrize("steps", [(0.0, 1.0), (2.0, -0.5), (1e-3, 4.0)])
def test_parabolas_are_met_exactly_by_all(steps):
    for p in random_polynomials(2):
        a, b = trials(p, *steps)
        root = float(p.deriv().roots()[0])
        assert secant(a, b) == pytest.approx(root)
        if p.deriv(2)(0.0) > 0:
            assert quadratic(a, b) == pytest.approx(root, abs=1e-6)
            assert cubic(a, b) == pytest.approx(root, abs=1e-6)
        else:
            assert math.isnan(quadratic(a, b))


@pytest.mark.parametrize("steps", [(0.0, 1.0), (2.0, -0.5), (1e-3, 4.0)])
def test_cubics_are_met_exactly(steps):
    found = 0
    for p in random_polynomials(3):
        expected = local_minimum(p)
        result = cubic(*trials(p, *steps))
        if expected is None:
            assert math.isnan(result)
        else:
            found += 1
            assert result == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found > 20


def test_cubics_by_three_losses_are_met_exactly():
    found = 0
    for p in random_polynomials(3):
        start, a, b = trials(p, 0.0, 1.0, 0.3)
        expected = local_minimum(p)
        if start.slope < 0.0 and expected is not None and expected > 0.0:
            found += 1
            assert cubic_by_losses(start, a, b) == pytest.approx(expected, rel=1e-6)
    assert found > 10


def test_slopes_alone_where_losses_drown():
    a, b = Trial(0.0, 1.0, -1e-9), Trial(1.0, 1.0 + 1e-7, 1e-9)  # the loss at 1 is off by noise
    assert minimum(a, b, noise=1e-6) == secant(a, b) == 0.5
    assert minimum(a, b, noise=0.0) != 0.5


@pytest.mark.parametrize("f", [quadratic, cubic, secant])
def test_no_answer_is_not_a_number(f):
    flat = Trial(0.0, 1.0, 0.0), Trial(1.0, 1.0, 0.0)
    assert math.isnan(f(*flat))
    assert math.isnan(f(Trial(0.0, 1.0, -1.0), Trial(1.0, math.inf, math.nan))) or f is quadratic
