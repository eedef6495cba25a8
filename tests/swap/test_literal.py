from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.swap import LiteralPeak, Observation

NORMS = st.lists(st.floats(0.0, 1e30, allow_nan=False), min_size=1, max_size=60)


def algorithm_1(norms: list[float], factor: float) -> list[bool]:
    """Whether each epoch is one of Adam's, transcribed from the pseudo-code; the record goes on as if Adam did."""
    adam_after = []
    gn_max = 0.0
    for gn in norms:
        gn_max = max(gn, gn_max)
        adam = gn > gn_max * factor
        adam_after.append(adam)
    return adam_after


@given(norms=NORMS, factor=st.floats(0.01, 1.0))
def test_equals_the_pseudo_code(norms, factor):
    rule = LiteralPeak(factor)
    ours = [
        not rule.observe(Observation(epoch=i, loss=1.0, gradient_norm=g, cost=float(i))).swap
        for i, g in enumerate(norms, start=1)
    ]
    assert ours == algorithm_1(norms, factor)


@pytest.mark.parametrize(("name", "epoch"), [("linear", 2), ("cifar-softmax", 4)])
def test_fires_where_we_saw_it_fire_too_early(name, epoch, tools):
    assert tools.swap_epoch(LiteralPeak(), tools.measured(name)) == epoch


def test_reason_has_the_numbers(tools):
    series = tools.series([1.0, 0.9, 0.8], [0.04, 0.052, 0.041])
    rule = LiteralPeak()
    decisions = [rule.observe(o) for o in series]
    assert [d.swap for d in decisions] == [False, False, True]
    assert decisions[-1].reason == "gradient norm 0.041 is not above 0.9 x its maximum 0.052 of epoch 2"
    assert decisions[-1].values == {"gradient_norm": 0.041, "maximum": 0.052, "threshold": 0.052 * 0.9}


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.1, float("nan")])
def test_wrong_factor(factor):
    with pytest.raises(ValueError, match="factor must be above 0 and at most 1"):
        LiteralPeak(factor)
