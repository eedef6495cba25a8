from __future__ import annotations

import math

import pytest

from homestretch.resort import Race


@pytest.mark.parametrize(
    ("first", "second", "back"),
    [
        ([(0, 1.0), (4, 0.5)], [(0, 1.0), (1, 0.8), (4, 0.4)], False),
        ([(0, 1.0), (4, 0.5)], [(0, 1.0), (1, 0.8), (4, 0.6)], True),
        ([(0, 1.0), (4, 0.5)], [(0, 1.0), (2, 0.6), (8, 0.1)], False),  # at equal cost 4, not at 8
        ([(0, 1.0), (4, 0.2)], [(0, 1.0), (2, 0.6), (8, 0.1)], True),
        ([(0, 1.0), (4, math.nan)], [(0, 1.0), (4, 1.0)], False),
        ([(0, 1.0), (4, 0.5)], [(0, 1.0), (1, math.nan)], True),
        ([(0, 1.0), (4, 0.5)], [(0, math.nan)], True),
    ],
)
def test_race(swapped, first, second, back):
    race = swapped(Race())
    decision = race.settle(first, second)
    assert decision.swap is back
    assert ("the first phase goes on" in decision.reason) is back
    assert race.memory.returns == int(back)
    assert (race.memory.cost >= 0.0) is not back


def test_race_cost():
    assert Race(0.02).race_cost(50.0, 200.0) == 4.0
    assert Race(0.02).race_cost(50.0, None) == 1.0


def test_race_needs_runners():
    with pytest.raises(ValueError, match="at least one point"):
        Race().settle([], [(0.0, 1.0)])
