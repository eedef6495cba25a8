from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.swap import (
    After,
    AllOf,
    AnyOf,
    AtEpoch,
    AtLoss,
    AtShare,
    BudgetAware,
    Custom,
    Fallback,
    Forecast,
    Never,
    Observation,
    PacedPeak,
    ProbeResult,
)


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


@pytest.mark.parametrize("outer", [lambda p: AnyOf(AllOf(p, Never()), After(AtEpoch(1), p)), lambda p: After(AllOf(p), p)])
def test_refuses_one_object_in_two_branches(outer):
    with pytest.raises(ValueError, match="one rule object twice, be it inside other rules"):
        outer(AtEpoch(1))


def test_refuses_a_bare_function():
    with pytest.raises(TypeError, match="wrap a function in Custom"):
        AnyOf(AtEpoch(1), lambda o: True, name="x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: AnyOf([AtEpoch(3), Never()]),
            r"a part of any-of must be a swap rule, got a list .*: unpack it, as in AnyOf\(\*rules",
        ),
        (lambda: AllOf(AtEpoch(3), "peak"), "a part of all-of must be a swap rule, such as AtEpoch.*, got 'peak'"),
        (lambda: After(lambda seen: True, AtEpoch(3)), "a part of after must be a swap rule.*wrap a function in Custom"),
        (lambda: Fallback(3), "a part of fallback must be a swap rule"),
        (lambda: PacedPeak("peak"), "opener must be a swap rule, such as AtEpoch.*, got 'peak'"),
        (lambda: BudgetAware("peak"), "opener must be a swap rule"),
    ],
)
def test_says_what_is_no_rule(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("rule", "needs"),
    [(AtEpoch(1), False), (AtShare(), True), (AnyOf(Never(), AllOf(AtShare())), True), (AnyOf(Never()), False)],
)
def test_a_part_that_needs_a_budget_is_known(rule, needs):
    assert rule.needs_budget is needs


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


def test_the_openers_wish_for_a_probe_is_passed_on_and_answered(tools):
    """The window opens by the answer, and the other rule decides from the next epoch on, having seen every epoch once."""
    seen = []
    then = Custom(lambda past: seen.append(past[-1].epoch) or True, name="then")
    rule = After(Forecast(probe_share=0.1, total_share=0.5), then)
    observations = series_of(tools)
    decisions = [rule.observe(o) for o in observations[:4]]
    assert [d.probe for d in decisions] == [False, False, False, True]
    assert decisions[-1].values["probe_cost"] == 10.0
    flat = ProbeResult(loss_before=1.0, loss_after=1.0, cost=10.0)
    closed = rule.observe(replace(observations[3], probe=flat))
    assert (closed.swap, rule.memory.opened) == (False, 0)
    again = After(Forecast(probe_share=0.1, total_share=0.5), then)
    then.reset()
    seen.clear()
    for o in observations[:4]:
        again.observe(o)
    steep = ProbeResult(loss_before=1.0, loss_after=1e-6, cost=10.0)
    opened = again.observe(replace(observations[3], probe=steep))
    assert (opened.swap, again.memory.opened) == (False, 4)
    assert opened.reason.startswith("then decides from the next epoch on; window open since epoch 4 (with ")
    assert again.observe(observations[4]).swap
    assert seen == [1, 2, 3, 4, 5]
