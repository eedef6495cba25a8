from __future__ import annotations

import pytest

from homestretch.swap import AtEpoch, AtShare, AtStep, Never


@pytest.mark.parametrize(
    ("rule", "epoch"), [(AtEpoch(7), 7), (AtStep(35), 4), (AtShare(0.3), 6), (AtShare(1.0), 20), (Never(), None)]
)
def test_moment(rule, epoch, tools):
    series = tools.series([1.0] * 20, [1.0] * 20, budget=20.0, step=[10 * i for i in range(1, 21)])
    assert tools.swap_epoch(rule, series) == epoch


def test_reason(tools):
    reason = AtShare(0.3).observe(tools.series([1.0], [1.0])[0]).reason
    assert reason == "1 of 200 gradient-equivalents are spent (0.5%), a swap is due from 30.0% on"


@pytest.mark.parametrize(("rule", "message"), [(AtShare(0.3), "needs a budget"), (AtStep(3), "needs the number of steps")])
def test_missing_information(rule, message, tools):
    with pytest.raises(ValueError, match=message):
        rule.observe(tools.series([1.0], [1.0], budget=None)[0])


@pytest.mark.parametrize(("rule", "value"), [(AtEpoch, 0), (AtStep, -1), (AtShare, 0.0), (AtShare, 1.5)])
def test_wrong_argument(rule, value):
    with pytest.raises(ValueError, match=f"got {value}"):
        rule(value)
