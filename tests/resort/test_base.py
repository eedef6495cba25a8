from __future__ import annotations

import math

import pytest

from homestretch.resort import MeasuredResort, NoResort


@pytest.mark.parametrize("resort", [MeasuredResort(), NoResort()])
def test_order_of_calls(resort):
    with pytest.raises(ValueError, match="before swapped"):
        resort.observe_second(1.0, 1.0)
    with pytest.raises(ValueError, match="no epoch of the first phase was observed before the swap after epoch 3"):
        resort.swapped(1.0, 3)


def test_no_resort_stays(swapped):
    resort = swapped(NoResort())
    assert not any(resort.observe_second(21.0 + i, loss).swap for i, loss in enumerate([math.nan, 100.0, *[1.0] * 50]))


@pytest.mark.parametrize(("retry_after", "waits"), [(None, [0, None, None]), (3, [0, 3, 6])])
def test_retry(retry_after, waits):
    resort, found = MeasuredResort(retry_after=retry_after), []
    for _ in waits:
        epochs = 0
        while not resort.may_swap() and epochs < 20:
            epochs += 1
            resort.observe_first(100.0 + epochs, 1.0)
        found.append(epochs if resort.may_swap() else None)
        resort.swapped(200.0, 1, loss=1.0)
        resort.observe_second(201.0, math.nan)
    assert found == waits


def test_wrong_retry():
    with pytest.raises(ValueError, match="retry_after"):
        NoResort(retry_after=0)
