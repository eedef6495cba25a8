from __future__ import annotations

import pytest

from homestretch.swap import PacedPeak, Settled

FALLING = [2.0 - 0.01 * i for i in range(100)]
CLIMBING = [0.1 + 0.01 * i for i in range(100)]


def answers(tools, norms: list[float], **settings: float) -> list[bool]:
    rule = Settled(**settings)
    return [rule.observe(o).swap for o in tools.series([1.0] * len(norms), norms)]


def test_a_norm_that_only_falls_is_settled(tools):
    assert all(answers(tools, FALLING))


def test_a_norm_that_climbs_is_not_once_it_stands_well_above_its_trough(tools):
    seen = answers(tools, CLIMBING)
    assert seen[0]
    assert not any(seen[20:])


def test_after_its_peak_it_is_settled_again(tools):
    seen = answers(tools, [*CLIMBING, *reversed(CLIMBING)])
    assert not any(seen[90:105])
    assert all(seen[115:])


def test_one_outlier_is_no_peak(tools):
    norms = CLIMBING.copy()
    norms[60] = 0.2
    norms[70] = 50.0
    assert not any(answers(tools, norms)[20:])


@pytest.mark.parametrize(("norms", "expected"), [(FALLING, 60), (CLIMBING, None)])
def test_without_a_peak_the_default_swaps_later_or_not_at_all(tools, norms, expected):
    """A language model's norm grew eightfold to the end of its budget, and each swap lost there."""
    losses = [1.0 / (i + 1) for i in range(100)]
    series = tools.series(losses, norms, budget=100.0, epoch_steps=4)
    assert tools.swap_epoch(PacedPeak(), series) == expected


def test_a_late_peak_is_waited_for(tools):
    norms = [*[0.1 + 0.005 * i for i in range(160)], *[0.89 - 0.02 * i for i in range(40)]]
    series = tools.series([1.0 / (i + 1) for i in range(200)], norms, budget=200.0, epoch_steps=4)
    assert 160 < tools.swap_epoch(PacedPeak(), series) < 175


@pytest.mark.parametrize("cut", [2, 50, 110])
def test_resumed_rule_goes_on_exactly(tools, cut):
    norms = [*CLIMBING, *reversed(CLIMBING)]
    alone, stopped = tools.resumed(Settled(), Settled(), tools.series([1.0] * 200, norms), cut)
    assert stopped == alone


@pytest.mark.parametrize("settings", [{"factor": 0.0}, {"rise": 0.5}, {"window": 0}])
def test_wrong_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settled(**settings)
