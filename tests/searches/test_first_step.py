from __future__ import annotations

import math

import pytest

from homestretch.searches.first_step import first_step
from homestretch.searches.trials import Finished, Trials


def step_of(line):
    return first_step(Trials(line, 10), lambda probe: None)


def parabola(line, middle, **options):
    return line(lambda a: (a - middle) ** 2, lambda a: 2 * (a - middle), **options)


@pytest.mark.parametrize("cheap_loss", [True, False])
@pytest.mark.parametrize("middle", [0.1, 1.0, 40.0])
def test_is_the_minimum_of_a_parabola(cheap_loss, middle, line):
    tried = parabola(line, middle, cheap_loss=cheap_loss)
    assert step_of(tried) == pytest.approx(middle)
    assert (tried.forwards, tried.gradients) == (([0.1], []) if cheap_loss else ([], [0.5]))


@pytest.mark.parametrize("cheap_loss", [True, False])
def test_is_kept_between_a_tenth_of_the_probe_and_a_hundred_guesses(cheap_loss, line):
    assert step_of(parabola(line, 1e-6, cheap_loss=cheap_loss)) == pytest.approx(0.01 if cheap_loss else 0.05)
    assert step_of(parabola(line, 1e6, cheap_loss=cheap_loss)) == pytest.approx(100.0)


@pytest.mark.parametrize("cheap_loss", [True, False])
def test_is_longer_where_the_loss_bends_down(cheap_loss, line):
    assert step_of(line(lambda a: -a - a * a, lambda a: -1 - 2 * a, 3.0, cheap_loss=cheap_loss)) == 6.0


@pytest.mark.parametrize("cheap_loss", [True, False])
def test_is_shorter_than_a_probe_that_is_not_finite(cheap_loss, line):
    tried = line(lambda a: math.nan if a else 0.0, lambda a: -1.0, 3.0, cheap_loss=cheap_loss)
    assert step_of(tried) == pytest.approx(0.03 if cheap_loss else 0.15)


def test_a_known_step_needs_no_probe(line):
    tried = parabola(line, 1.0, first_step=0.7, scaled=True)
    assert step_of(tried) == 0.7
    assert tried.evaluations == 0


def test_the_probe_goes_out_to_where_the_bend_shows_above_the_noise(line):
    for noise, expected in ((1e-9, 0.1), (1e-2, math.sqrt(0.1)), (1.0, 1.0)):
        tried = parabola(line, 1.0, noise=noise)
        step_of(tried)
        assert tried.forwards == [pytest.approx(expected)]


def test_a_graded_probe_near_the_minimum_may_end_the_search(line):
    tried = parabola(line, 0.5, cheap_loss=False)
    with pytest.raises(Finished):
        first_step(trials := Trials(tried, 10), lambda probe: trials.accept(probe, None))
