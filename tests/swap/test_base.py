from __future__ import annotations

import math
from dataclasses import replace

import pytest

from homestretch import swap
from homestretch.errors import NonFiniteError
from homestretch.swap import Observation, ProbeResult


def every_rule() -> list[swap.SwapRule]:
    return [
        swap.LiteralPeak(),
        swap.GradientNormPeak(),
        swap.GradientNormPeak(smoothing="ema", fallback_share=None),
        swap.CurvePeak(),
        swap.Plateau(patience=3),
        swap.AtLoss(0.03),
        swap.AtEpoch(40),
        swap.AtStep(300),
        swap.AtShare(0.3),
        swap.Never(),
        swap.NoiseScale(),
        swap.Forecast(),
        swap.BudgetAware(),
        swap.Custom(lambda seen: len(seen) > 20, name="after-twenty"),
        swap.AnyOf(swap.AtEpoch(50), swap.GradientNormPeak()),
        swap.AllOf(swap.AtEpoch(50), swap.LiteralPeak()),
        swap.After(swap.LiteralPeak(), swap.Plateau(patience=2)),
        swap.Fallback(swap.Never(), 0.4),
    ]


def complete(series: list[Observation]) -> list[Observation]:
    return [replace(o, step=10 * o.epoch, samples=5000, noise_scale=100.0 * o.epoch, learning_rate=1e-3) for o in series]


def named(rule: swap.SwapRule) -> str:
    return rule.name


@pytest.mark.parametrize("field", ["loss", "gradient_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", every_rule(), ids=named)
def test_not_finite_is_an_error_and_leaves_no_trace(rule, field, value):
    before = rule.state_dict()
    good = {"epoch": 1, "loss": 1.0, "gradient_norm": 1.0, "cost": 1.0, "budget": 10.0}
    with pytest.raises(NonFiniteError, match="epoch 1"):
        rule.observe(Observation(**{**good, field: value}))
    assert rule.state_dict() == before


@pytest.mark.parametrize("cut", [1, 37, 120])
@pytest.mark.parametrize("index", range(len(every_rule())), ids=[r.name for r in every_rule()])
def test_resumed_rule_goes_on_exactly(index, cut, tools):
    rule, fresh, series = every_rule()[index], every_rule()[index], complete(tools.measured("mnist-softmax"))
    alone, resumed = tools.resumed(rule, fresh, series, cut)
    assert alone == resumed
    assert all(d.reason and d.rule for d in alone)


@pytest.mark.parametrize("rule", every_rule(), ids=named)
def test_reset_forgets(rule, tools):
    series = complete(tools.measured("mnist-softmax"))
    empty = rule.state_dict()
    first = [rule.observe(o) for o in series]
    rule.reset()
    assert rule.state_dict() == empty
    assert [rule.observe(o) for o in series] == first


def test_state_of_another_rule_is_refused():
    with pytest.raises(ValueError, match="belongs to the rule 'never', not to 'literal-peak'"):
        swap.LiteralPeak().load_state_dict(swap.Never().state_dict())


def test_damaged_state_is_refused():
    state = swap.LiteralPeak().state_dict()
    del state["maximum"]
    with pytest.raises(ValueError, match="lacks maximum"):
        swap.LiteralPeak().load_state_dict(state)


def test_probe_that_nobody_asked_for_changes_nothing():
    rule = swap.AtEpoch(1)
    probe = ProbeResult(loss_before=1.0, loss_after=0.5, cost=1.0)
    decision = rule.observe(Observation(epoch=1, loss=1.0, gradient_norm=1.0, cost=1.0, probe=probe))
    assert not decision.swap
    assert "asks for no probe" in decision.reason


def test_probe_without_cost_is_refused():
    with pytest.raises(ValueError, match="cost of a probe"):
        ProbeResult(loss_before=1.0, loss_after=0.5, cost=0.0)
