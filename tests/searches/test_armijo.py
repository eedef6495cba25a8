from __future__ import annotations

import math

import pytest

from homestretch.line import SearchStatus
from homestretch.searches import Armijo


@pytest.mark.parametrize("number", "123456")
@pytest.mark.parametrize("decrease", [1e-4, 0.1])
@pytest.mark.parametrize("first_step", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_step_decreases_sufficiently_by_forward_passes(number, decrease, first_step, scaled, line, more_thuente):
    phi, slope = more_thuente[number]
    tried = line(phi, slope, first_step, scaled=scaled)
    result = Armijo(decrease)(tried)
    assert result.status is SearchStatus.CONVERGED
    assert phi(result.step) <= phi(0.0) + decrease * result.step * slope(0.0)
    assert not tried.gradients
    assert result.slope is None


@pytest.mark.parametrize(("middle", "trials"), [(0.9, 1), (4.0, 2), (55.0, 3), (550.0, 4)])
def test_a_guess_that_succeeds_moves_out_to_the_parabolas_minimum(middle, trials, line):
    tried = line(lambda a: (a - middle) ** 2, lambda a: 2 * (a - middle), 1.0)
    assert Armijo()(tried).step == pytest.approx(middle if trials > 1 else 1.0)
    assert tried.evaluations == trials


def test_a_known_step_that_succeeds_is_left_alone(line):
    tried = line(lambda a: (a - 50.0) ** 2, lambda a: 2 * (a - 50.0), 1.0, scaled=True)
    assert Armijo()(tried).step == 1.0


def test_expand_of_one_never_goes_beyond_the_first_step(line):
    tried = line(lambda a: (a - 50.0) ** 2, lambda a: 2 * (a - 50.0), 1.0)
    assert Armijo(expand=1.0)(tried).step == 1.0


def test_contracts_to_the_parabolas_minimum_and_no_faster_than_tenfold(line):
    tried = line(lambda a: (a - 0.3) ** 2, lambda a: 2 * (a - 0.3), 1.0, scaled=True)
    assert Armijo()(tried).step == pytest.approx(0.3)
    steep = line(lambda a: (a - 1e-3) ** 2, lambda a: 2 * (a - 1e-3), 1.0, scaled=True)
    Armijo()(steep)
    assert all(0.1 - 1e-12 <= b / a <= 0.5 for a, b in zip(steep.forwards, steep.forwards[1:], strict=False))


@pytest.mark.parametrize(("name", "value"), [("decrease", 0.5), ("decrease", 0.0), ("expand", 0.9), ("max_evaluations", 0)])
def test_refuses_bad_numbers(name, value):
    for bad in (value, math.nan):
        with pytest.raises(ValueError, match=name):
            Armijo(**{name: bad})
