from __future__ import annotations

import math

import pytest

from homestretch.line import SearchStatus
from homestretch.searches.trials import Finished, Trial, Trials


def ended(action, *arguments):
    with pytest.raises(Finished) as caught:
        action(*arguments)
    return caught.value.result


def test_keeps_the_lowest_trial_and_counts(line):
    trials = Trials(line(lambda a: (a - 2) ** 2, lambda a: 2 * (a - 2)), 10)
    for step in (1.0, 3.5, 2.5):
        trials.forward(step)
    assert trials.graded(4.0) == Trial(4.0, 4.0, 4.0)
    assert trials.best.step == 2.5
    assert trials.evaluations == 4
    result = ended(trials.give_up, SearchStatus.LIMIT)
    assert (result.step, result.loss, result.slope, result.status) == (2.5, 0.25, None, SearchStatus.LIMIT)


def test_at_the_limit_it_says_why(line):
    for reach, status in (
        (2.0, SearchStatus.LIMIT),
        (1e10, SearchStatus.UNBOUNDED),
    ):  # two trials tell nothing unless far apart
        falling = Trials(line(lambda a: -a, lambda a: -1.0), 2)
        falling.forward(1.0)
        falling.forward(reach)
        assert ended(falling.forward, 2.0 * reach).status is status
    turning = Trials(line(lambda a: abs(a - 1), lambda a: math.copysign(1.0, a - 1)), 2)
    turning.forward(1.0)
    turning.forward(2.0)
    assert ended(turning.forward, 3.0).status is SearchStatus.LIMIT


def test_with_nothing_lower_it_returns_to_the_start(line):
    for shortest, noise, status in (
        (0.1, 0.0, SearchStatus.LIMIT),  # shorter steps may be lower
        (1e-10, 0.0, SearchStatus.NO_DECREASE),
        (0.1, 0.1, SearchStatus.NO_DECREASE),
    ):
        rising = Trials(line(lambda a: a, lambda a: -1.0, noise=noise), 5)
        rising.forward(1.0)
        rising.forward(shortest)
        assert ended(rising.give_up, SearchStatus.LIMIT).status is status
        assert ended(rising.give_up, SearchStatus.RESOLVED).status is SearchStatus.NO_DECREASE
    nowhere = Trials(line(lambda a: math.nan if a else 0.0, lambda a: -1.0), 5)
    nowhere.forward(1.0)
    result = ended(nowhere.give_up, SearchStatus.LIMIT)
    assert (result.step, result.loss, result.status) == (0.0, 0.0, SearchStatus.NON_FINITE)


def test_conditions(line):
    trials = Trials(line(lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1), noise=0.01), 5)
    assert trials.sufficient(trials.graded(1.0), 0.1)
    assert trials.sufficient(Trial(1.79, 0.6241), 0.1)  # on a parabola, where the loss falls by a tenth of the slope's promise
    assert not trials.sufficient(Trial(1.81, 0.6561), 0.1)
    assert trials.unnoticeable(Trial(1.79, 1.009, 1.58), 0.1)
    assert not trials.unnoticeable(Trial(1.81, 1.009, 1.62), 0.1)
    assert not trials.unnoticeable(Trial(1.79, 1.011, 1.58), 0.1)
    assert trials.drowned(Trial(0.04, 1.009), 0.1)
    assert not trials.drowned(Trial(0.06, 1.009), 0.1)
