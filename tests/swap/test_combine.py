from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.swap import After, AllOf, AnyOf, AtEpoch, AtLoss, Custom, Fallback, Forecast, Never, Observation, ProbeResult


def series_of(tools, epochs=40):
    return tools.series(tools.interpolated([(1, 1.0), (epochs, 0.1)], epochs), [1.0] * epochs, budget=100.0)


@pytest.mark.parametrize(
    ("rule", "epoch"),
    [
        (AnyOf(AtEpoch(9), AtEpoch(5)), 5),
        (AllOf(AtEpoch(9), AtEpoch(5)), 9),
        (AllOf(AtEpoch(9), Never()), None),
        (After(AtEpoch(9), AtEpoch(5)), 9),
        (After(AtEpoch(5), AtEpoch(9)), 9),
        (Fallback(Never(), 0.3), 30),
        (Fallback(AtEpoch(4), 0.3), 4),
        (AnyOf(AllOf(AtEpoch(3), AtEpoch(8)), Never()), 8),
    ],
    ids=lambda r: getattr(r, "name", str(r)),
)
def test_epoch(rule, epoch, tools):
    assert tools.swap_epoch(rule, series_of(tools)) == epoch


def test_opener_need_not_stay_open(tools):
    once = Custom(lambda seen: len(seen) == 3, name="once")
    rule = After(once, AtEpoch(6))
    decisions = [rule.observe(o) for o in series_of(tools)]
    assert [d.swap for d in decisions].index(True) == 5
    assert "window open since epoch 3 (once says swap after epoch 3)" in decisions[5].reason


def test_reasons_name_those_that_settled_it(tools):
    observation = series_of(tools)[0]
    assert AnyOf(AtEpoch(1), AtEpoch(9)).observe(observation).reason == "at-epoch: epoch 1, the swap is set after epoch 1"
    assert AllOf(AtEpoch(1), AtEpoch(9)).observe(observation).reason == "at-epoch: epoch 1, the swap is set after epoch 9"


@pytest.mark.parametrize(
    ("combination", "before", "after"), [(AnyOf, False, True), (AllOf, False, True)], ids=["any-of", "all-of"]
)
def test_answer_reaches_the_rule_that_asked(combination, before, after, tools):
    rule = combination(Forecast(probe_share=0.1, total_share=0.5), AtEpoch(4) if combination is AllOf else Never())
    decisions = [(o, rule.observe(o)) for o in series_of(tools)[:4]]
    observation, decision = decisions[-1]
    assert decision.probe
    assert decision.swap is before
    assert decision.values["probe_cost"] == 10.0
    steep = ProbeResult(loss_before=1.0, loss_after=1e-6, cost=10.0)
    assert rule.observe(replace(observation, probe=steep)).swap is after


def test_closed_window_asks_for_no_probe_and_keeps_the_trend(tools):
    forecast = Forecast(probe_share=0.1, total_share=0.5)
    rule = After(AtLoss(0.5), forecast)
    decisions = [rule.observe(o) for o in series_of(tools)]
    opened = next(i for i, o in enumerate(series_of(tools)) if o.loss <= 0.5)
    assert not any(d.probe for d in decisions[:opened])
    assert decisions[opened].probe
    assert len(forecast.memory.costs) == 40


@pytest.mark.parametrize("make", [lambda: AnyOf(), lambda: AllOf()])
def test_needs_rules(make):
    with pytest.raises(ValueError, match="at least one rule"):
        make()


def test_refuses_one_object_twice():
    rule = AtEpoch(1)
    with pytest.raises(ValueError, match="twice"):
        AnyOf(rule, rule)


def test_refuses_a_bare_function():
    with pytest.raises(TypeError, match="wrap a function in Custom"):
        AnyOf(AtEpoch(1), lambda o: True, name="x")


def test_state_with_other_parts_is_refused():
    with pytest.raises(ValueError, match="holds 1 rules, not 2"):
        AnyOf(AtEpoch(1), AtEpoch(2), name="x").load_state_dict(AnyOf(AtEpoch(1), name="x").state_dict())


def test_a_window_opens_while_nobody_asks():
    rule = After(AtEpoch(2), AtEpoch(5))
    for epoch in range(1, 4):
        rule.watch(Observation(epoch=epoch, loss=1.0, gradient_norm=1.0, cost=float(epoch)))
    assert rule.memory.opened == 2
    decisions = [rule.observe(Observation(epoch=e, loss=1.0, gradient_norm=1.0, cost=float(e))) for e in (4, 5)]
    assert [d.swap for d in decisions] == [False, True]
