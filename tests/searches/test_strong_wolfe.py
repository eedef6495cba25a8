from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy.optimize import line_search

from homestretch.line import SearchStatus
from homestretch.searches import StrongWolfe

# The settings of J. More, D. Thuente (1994), section 5: function, mu, eta, first step, then evaluations, step and slope there (two
# digits). The last three are a record of what this search does, not copied from the paper's tables I to VI: they guard against
# change and were not compared with the printed page. That the steps are right is tested by the Wolfe conditions and SciPy.
RECORDED = [
    ("1", 1e-3, 1e-1, 1e-3, 6, 1.4, -9.2e-3), ("1", 1e-3, 1e-1, 1e-1, 3, 1.4, 4.7e-3),
    ("1", 1e-3, 1e-1, 1e1, 1, 10, 9.4e-3), ("1", 1e-3, 1e-1, 1e3, 4, 37, 7.3e-4),
    ("2", 1e-1, 1e-1, 1e-3, 12, 1.6, 3.8e-9), ("2", 1e-1, 1e-1, 1e-1, 8, 1.6, 1.0e-10),
    ("2", 1e-1, 1e-1, 1e1, 8, 1.6, -5.0e-9), ("2", 1e-1, 1e-1, 1e3, 11, 1.6, -2.3e-8),
    ("3", 1e-1, 1e-1, 1e-3, 12, 1.0, -5.1e-5), ("3", 1e-1, 1e-1, 1e-1, 12, 1.0, -1.9e-4),
    ("3", 1e-1, 1e-1, 1e1, 10, 1.0, -2.0e-6), ("3", 1e-1, 1e-1, 1e3, 13, 1.0, -1.6e-5),
    ("4", 1e-3, 1e-3, 1e-3, 4, 0.085, -6.9e-5), ("4", 1e-3, 1e-3, 1e-1, 1, 0.10, -4.9e-5),
    ("4", 1e-3, 1e-3, 1e1, 3, 0.35, -2.9e-6), ("4", 1e-3, 1e-3, 1e3, 4, 0.83, 1.6e-5),
    ("5", 1e-3, 1e-3, 1e-3, 6, 0.075, 1.9e-4), ("5", 1e-3, 1e-3, 1e-1, 3, 0.078, 7.4e-4),
    ("5", 1e-3, 1e-3, 1e1, 7, 0.073, -2.6e-4), ("5", 1e-3, 1e-3, 1e3, 8, 0.076, 4.5e-4),
    ("6", 1e-3, 1e-3, 1e-3, 13, 0.93, 5.2e-4), ("6", 1e-3, 1e-3, 1e-1, 11, 0.93, 8.4e-5),
    ("6", 1e-3, 1e-3, 1e1, 8, 0.92, -2.4e-4), ("6", 1e-3, 1e-3, 1e3, 11, 0.92, -3.2e-4),
]  # fmt: skip


@pytest.mark.parametrize(("number", "mu", "eta", "first_step", "evaluations", "step", "slope"), RECORDED)
def test_goes_on_as_recorded_on_the_functions_of_more_and_thuente(
    number, mu, eta, first_step, evaluations, step, slope, line, more_thuente
):
    tried = line(*more_thuente[number], first_step, scaled=True)
    result = StrongWolfe(mu, eta * (1 + 1e-12))(tried)  # they take eta equal to mu
    assert result.status is SearchStatus.CONVERGED
    assert tried.evaluations == evaluations
    assert result.step == pytest.approx(step, rel=0.03)
    assert result.slope == pytest.approx(slope, rel=0.03)


@pytest.mark.parametrize("number", "123456")
@pytest.mark.parametrize("curvature", [0.1, 0.9])
@pytest.mark.parametrize("first_step", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("cheap_loss", [True, False])
def test_the_step_meets_the_conditions(number, curvature, first_step, cheap_loss, line, more_thuente):
    phi, slope = more_thuente[number]
    tried = line(phi, slope, first_step, cheap_loss=cheap_loss)
    result = StrongWolfe(1e-4, curvature)(tried)
    assert result.status is SearchStatus.CONVERGED
    assert phi(result.step) <= phi(0.0) + 1e-4 * result.step * slope(0.0)
    assert abs(slope(result.step)) <= curvature * abs(slope(0.0))


@pytest.mark.parametrize("number", "12456")
@pytest.mark.parametrize("curvature", [0.1, 0.9])
def test_as_low_as_scipy_at_no_higher_cost(number, curvature, line, more_thuente):
    phi, slope = more_thuente[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy says when it gives up
        alpha, calls, gradients, *_ = line_search(
            lambda x: phi(float(x[0])),
            lambda x: np.array([slope(float(x[0]))]),
            np.zeros(1),
            np.ones(1),
            c2=curvature,
            maxiter=50,
        )
    tried = line(phi, slope, 1.0, scaled=True)  # scipy's own first step
    result = StrongWolfe(1e-4, curvature)(tried)
    assert alpha is not None
    assert abs(slope(result.step)) <= curvature * abs(slope(0.0))
    assert tried.evaluations <= calls + gradients


def test_a_trial_that_is_not_finite_bounds_the_steps(line):
    """The slope falls on and on towards the border at 1, so the interval never closes by itself."""
    tried = line(lambda a: -1 - a if a < 1 else math.nan, lambda a: -1.0, 0.3, scaled=True)
    result = StrongWolfe()(tried)
    assert 0.99 < result.step < 1.0
    assert result.status is SearchStatus.LIMIT


@pytest.mark.parametrize("name", ["decrease", "curvature", "max_evaluations"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_refuses_bad_numbers(name, value):
    with pytest.raises(ValueError, match=name):
        StrongWolfe(**{name: value})
