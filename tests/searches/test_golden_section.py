from __future__ import annotations

import math

import pytest
from scipy.optimize import golden, minimize_scalar

from homestretch.line import SearchStatus
from homestretch.searches import GoldenSection

UNIMODAL = {
    "parabola": (lambda a: (a - 2) ** 2, lambda a: 2 * (a - 2)),
    "exponential": (lambda a: math.exp(a) - 5 * a, lambda a: math.exp(a) - 5),
    "quartic": (lambda a: (a - 1.5) ** 4 - 1, lambda a: 4 * (a - 1.5) ** 3),
    "pole": (lambda a: 1 / (a + 1) + a / 4, lambda a: 0.25 - 1 / (a + 1) ** 2),
    "kink": (lambda a: abs(a - 0.7), lambda a: math.copysign(1.0, a - 0.7)),
}


@pytest.mark.parametrize("name", UNIMODAL)
@pytest.mark.parametrize("first_step", [1e-2, 1.0, 30.0])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
def test_the_minimum_is_scipys(name, first_step, tolerance, line):
    phi, slope = UNIMODAL[name]
    tried = line(phi, slope, first_step)
    result = GoldenSection(tolerance)(tried)
    expected = golden(phi, brack=(0.0, 1.0), tol=1e-10)
    assert result.status is SearchStatus.CONVERGED
    assert result.step == pytest.approx(expected, rel=tolerance)
    assert not tried.gradients


@pytest.mark.parametrize("name", UNIMODAL)
def test_no_dearer_than_scipy_from_the_same_bracket(name, line):
    """Bracket and sections together, at the same tolerance, against Brent's predecessor in SciPy."""
    phi, slope = UNIMODAL[name]
    tried = line(phi, slope, 1.0)
    GoldenSection(1e-3)(tried)
    theirs = minimize_scalar(phi, bracket=(0.0, 1.0), method="golden", options={"xtol": 1e-3})
    assert tried.evaluations <= theirs.nfev + 2


def test_each_section_shrinks_the_bracket_by_the_golden_ratio(line):
    """n sections after a bracket of known length leave one of length 0.618^n."""
    counts = []
    for tolerance in (1e-1, 1e-2, 1e-3):
        tried = line(*UNIMODAL["parabola"], 1.0)
        GoldenSection(tolerance)(tried)
        counts.append(tried.evaluations)
    per_decade = math.log(10) / math.log((1 + math.sqrt(5)) / 2)
    assert counts[1] - counts[0] == pytest.approx(per_decade, abs=1)
    assert counts[2] - counts[1] == pytest.approx(per_decade, abs=1)


def test_does_not_contract_below_the_noise(line):
    tried = line(lambda a: 1.0 + a, lambda a: -1.0, 1.0, noise=1e-3)
    assert GoldenSection()(tried).status is SearchStatus.NO_DECREASE
    assert tried.evaluations < 15


def test_the_limit_returns_the_lowest_step(line):
    tried = line(*UNIMODAL["parabola"], 1.0)
    result = GoldenSection(1e-6, max_evaluations=8)(tried)
    assert result.status is SearchStatus.LIMIT
    assert tried.evaluations == 8
    assert result.loss == min(tried.phi(a) for a in tried.forwards)


@pytest.mark.parametrize(
    ("name", "value"), [("tolerance", 0.0), ("tolerance", 1.0), ("tolerance", math.nan), ("max_evaluations", 2)]
)
def test_refuses_bad_numbers(name, value):
    with pytest.raises(ValueError, match=name):
        GoldenSection(**{name: value})
