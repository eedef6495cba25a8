from __future__ import annotations

import math

import pytest
import torch

from homestretch import vectors
from homestretch.convexity import along, random_start, secant


def test_along_equals_the_exact_quadratic_form(case):
    v = [3.0 * t for t in random_start(case.like, 4)]
    flat = vectors.pack(v)
    exact = float(flat @ case.matrix @ flat)
    found = along(case.product, v)
    assert found.quadratic == pytest.approx(exact, rel=1e-9, abs=1e-12)
    assert found.rayleigh == pytest.approx(exact / 9.0, rel=1e-9, abs=1e-12)


def test_secant_is_exact_on_a_quadratic(case):
    step = random_start(case.like, 5)
    assert secant(step, case.product(step)).quadratic == pytest.approx(along(case.product, step).quadratic)


def test_no_direction():
    zero = [torch.zeros(3)]
    assert math.isnan(along(lambda v: v, zero).rayleigh)
    assert secant(zero, zero).quadratic == 0.0
