from __future__ import annotations

import json
import math

import pytest

from homestretch.resort import MeasuredResort, NoResort, Race, Resort


def after_first(resort: Resort, power: float = 1.0, epochs: int = 20) -> Resort:
    """A first phase of L = 1 / c^power, swapped at its end."""
    for c in range(1, epochs + 1):
        resort.observe_first(float(c), c**-power)
    resort.swapped(float(epochs), epochs)
    return resort


def returned_after(resort: Resort, losses) -> int | None:
    """The step of the convex phase after which it went back, each of one gradient-equivalent."""
    start = resort.memory.costs[0]
    return next((i for i, f in enumerate(losses, 1) if resort.observe_second(start + i, f).swap), None)


def power_law(power: float, steps: int = 100, start: float = 20.0) -> list[float]:
    return [(start + i) ** -power for i in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("losses", "back"),
    [
        (power_law(1.3), None),
        (power_law(1.0), None),
        ([1 / 20] * 100, 5 + 5),
        ([0.9 / 20] * 100, 10),
        ([0.5 / 20 * 0.97**i for i in range(100)], None),
        ([1 / 20] * 8 + [1 / 20 * 0.8**i for i in range(1, 60)], None),
        ([0.25 / 20] * 100, 64),
    ],
    ids=["faster", "equal", "stands still", "small gain made once", "great gain", "slow start", "ahead until 4 x the cost"],
)
def test_goes_back_when_the_first_phase_would_be_better(losses, back):
    assert returned_after(after_first(MeasuredResort()), losses) == back


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_never_far_behind_the_first_phase(power):
    """When it goes back from a phase that stalls, what was lost is what patience and grace cost."""
    resort = after_first(MeasuredResort(), power)
    back = returned_after(resort, [20.0**-power] * 100)
    assert back is not None
    assert 20.0**-power / (20.0 + back) ** -power < 1.5**power + 1e-9


def test_one_bad_step_is_no_trend():
    losses = power_law(1.2)
    losses[30] = losses[29] * 1.5
    assert returned_after(after_first(MeasuredResort()), losses) is None


def test_noise_in_the_first_phase_is_shrugged_off():
    resort = MeasuredResort()
    for c in range(1, 41):
        resort.observe_first(float(c), c**-1.0 * (3.0 if c % 7 == 0 else 1.0))
    assert resort.first_phase_power() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("loss", "failure", "message"),
    [
        (0.05, "the line search failed", "the convex phase failed: the line search failed"),
        (math.nan, None, "the convex phase failed: its loss is nan"),
        (math.inf, None, "its loss is inf"),
        (0.5, None, "loss 0.5 is 10 times the lowest, 0.05"),
    ],
)
def test_failures_lead_back_at_once(loss, failure, message):
    decision = after_first(MeasuredResort()).observe_second(21.0, loss, failure)
    assert decision.swap
    assert message in decision.reason
    assert decision.rule == "measured-resort"


def test_exact_loss_at_the_swap_is_the_reference():
    resort = MeasuredResort()
    for c in range(1, 21):
        resort.observe_first(float(c), 1.0 / c)
    resort.swapped(20.0, 20, loss=0.04)
    assert resort.observe_second(21.0, 0.09).swap
    assert resort.memory.returns == 1


def test_first_phase_without_progress_never_wins():
    resort = MeasuredResort()
    for c in range(1, 21):
        resort.observe_first(float(c), 1.0 + 0.01 * c)
    resort.swapped(20.0, 20)
    assert returned_after(resort, [1.2] * 50) is None


def test_too_short_a_first_phase_is_not_judged():
    resort = after_first(MeasuredResort(), epochs=2)
    assert returned_after(resort, [0.5] * 50) is None


@pytest.mark.parametrize("resort", [MeasuredResort(), NoResort()])
def test_order_of_calls(resort):
    with pytest.raises(ValueError, match="before swapped"):
        resort.observe_second(1.0, 1.0)
    with pytest.raises(ValueError, match="no epoch of the first phase was observed before the swap after epoch 3"):
        resort.swapped(1.0, 3)


def test_no_resort_stays():
    assert returned_after(after_first(NoResort()), [math.nan, 100.0, *[1.0] * 50]) is None


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


@pytest.mark.parametrize("cut", [3, 22, 28])
def test_resumed_resort_goes_on_exactly(cut):
    def script(resort: Resort, start: int, end: int) -> list:
        decisions = []
        for i in range(start, end):
            if i < 20:
                resort.observe_first(i + 1.0, 1.0 / (i + 1.0))
            elif i == 20:
                resort.swapped(20.0, 20)
            else:
                decisions.append(resort.observe_second(float(i), 0.049))
        return decisions

    alone = script(MeasuredResort(), 0, 31)
    stopped, fresh = MeasuredResort(), MeasuredResort()
    before = script(stopped, 0, cut)
    fresh.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert before + script(fresh, cut, 31) == alone
    assert alone[-1].swap


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
def test_race(first, second, back):
    race = after_first(Race())
    decision = race.settle(first, second)
    assert decision.swap is back
    assert ("the first phase goes on" in decision.reason) is back
    assert race.memory.returns == int(back)
    assert bool(race.memory.costs) is not back


def test_race_cost():
    assert Race(0.02).race_cost(50.0, 200.0) == 4.0
    assert Race(0.02).race_cost(50.0, None) == 1.0


def test_race_needs_runners():
    with pytest.raises(ValueError, match="at least one point"):
        Race().settle([], [(0.0, 1.0)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window"),
        ({"patience": 0}, "patience"),
        ({"grace": -1}, "grace"),
        ({"margin": 0.0}, "margin"),
        ({"spike": 1.0}, "spike must be above 1"),
        ({"retry_after": 0}, "retry_after"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MeasuredResort(**settings)
