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
        while not resort.may_swap(150.0) and epochs < 20:
            epochs += 1
            resort.observe_first(100.0 + epochs, 1.0)
        found.append(epochs if resort.may_swap(150.0) else None)
        resort.swapped(200.0, 1, loss=1.0)
        resort.observe_second(201.0, math.nan)
    assert found == waits


@pytest.mark.parametrize(
    ("returned_at", "budget", "allowed_from"),
    [(40.0, 100.0, 80.0), (79.0, 100.0, 80.0), (81.0, 100.0, None), (40.0, None, None)],
)
def test_the_last_stretch_is_tried_once(returned_at, budget, allowed_from):
    resort = MeasuredResort(last_stretch=0.2)
    resort.swapped(returned_at - 1.0, 1, loss=1.0)
    assert resort.observe_second(returned_at, math.nan).swap
    costs = [cost for cost in range(30, 101, 5) if resort.may_swap(float(cost), budget)]
    assert costs == ([] if allowed_from is None else [c for c in range(30, 101, 5) if c >= allowed_from])
    resort.swapped(90.0, 2, loss=1.0)
    assert resort.observe_second(91.0, math.nan).swap
    assert not resort.may_swap(92.0, budget)


def test_no_last_stretch():
    resort = MeasuredResort(last_stretch=0.0)
    resort.swapped(20.0, 1, loss=1.0)
    resort.observe_second(21.0, math.nan)
    assert not resort.may_swap(99.9, 100.0)
    assert NoResort().last_stretch == 0.0


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"retry_after": 0}, "retry_after"), ({"last_stretch": -0.1}, "last_stretch"), ({"last_stretch": 1.0}, "last_stretch")],
)
def test_wrong_retry(wrong, name):
    with pytest.raises(ValueError, match=name):
        MeasuredResort(**wrong)


def test_another_function_restates_the_course():
    """All losses of a run whose function doubles give the decisions of one whose function stays."""
    decisions = []
    for factor in (1.0, 2.0):
        resort = MeasuredResort()
        for c in range(1, 21):
            resort.observe_first(float(c), 1.0 / c)
        resort.swapped(20.0, 20, loss=0.05, budget=100.0, version=4)
        resort.observe_second(21.0, 0.04, version=4, start=0.05)
        for step in range(12):
            loss = 0.04 * 0.97**step
            decision = resort.observe_second(22.0 + step, factor * loss, version=5, start=factor * loss / 0.97)
            decisions.append((decision.swap, decision.values.get("lag")))
    half = len(decisions) // 2
    assert [s for s, _ in decisions[:half]] == [s for s, _ in decisions[half:]] == [False] * half
    assert [lag for _, lag in decisions[:half]] == pytest.approx([lag for _, lag in decisions[half:]])


def test_a_function_whose_loss_is_zero_leaves_no_trend():
    resort = MeasuredResort()
    for c in range(1, 21):
        resort.observe_first(float(c), 1.0 / c)
    resort.swapped(20.0, 20, loss=0.05)
    resort.observe_second(21.0, 0.0, version=1, start=0.0)
    assert resort.memory.power is None
    assert resort.memory.lowest == 0.0
