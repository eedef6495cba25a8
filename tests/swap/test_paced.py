from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.swap import (
    AtEpoch,
    BudgetAware,
    FullBatches,
    GradientNormPeak,
    Observation,
    Pace,
    PacedPeak,
    ProbeResult,
    default_rule,
)

BUDGET = 200.0


def series(power: float, epochs: int = 200, steps: int = 4) -> list[Observation]:
    return [
        Observation(epoch=e, loss=e**-power, gradient_norm=1.0, cost=float(e), budget=BUDGET, epoch_steps=steps)
        for e in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(("power", "expected"), [(0.5, 50), (1.5, 100), (3.0, 134), (0.0, 4)])
def test_swaps_at_the_best_share_of_the_budget(tools, power, expected):
    assert tools.swap_epoch(Pace(1.5, start_up=0.0), series(power)) == expected


@pytest.mark.parametrize(("start_up", "expected"), [(10.0, 95), (50.0, 75), (1000.0, 4)])
def test_what_the_convex_phase_spends_to_start_is_off_the_budget(tools, start_up, expected):
    assert tools.swap_epoch(Pace(start_up=start_up), series(1.0)) == expected


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("convex_power", [0.5, 1.5, 3.0])
def test_no_other_moment_is_better_if_the_powers_are_right(tools, power, convex_power):
    def final(swapped: float) -> float:
        return swapped**-power * (BUDGET - 10.0 - swapped) ** -convex_power

    found = tools.swap_epoch(Pace(convex_power), series(power))
    assert final(found) <= 1.01 * min(final(float(s)) for s in range(1, 190))


def test_reason_gives_the_powers(tools):
    rule = Pace(1.5, start_up=20.0)
    decisions = [rule.observe(o) for o in series(1.0, 60)]
    assert decisions[-1].reason == (
        "the first phase's loss falls as cost^-1, the convex phase's is assumed to fall as cost^-1.5 once 20 are spent on its start: "
        "the best moment is 72 of 200 gradient-equivalents, 60 are spent"
    )
    assert decisions[2].reason == "3 epochs are too few for a trend, 4 are needed"


def test_no_power_without_positive_losses(tools):
    assert tools.swap_epoch(Pace(), tools.series([-1.0] * 50, [1.0] * 50)) is None


@pytest.mark.parametrize(("steps", "expected"), [(1, 20), (2, 150)])
def test_full_batches_are_not_waited_for(tools, steps, expected):
    assert tools.swap_epoch(PacedPeak(), series(2.0, steps=steps)) == expected


def test_unknown_steps_count_as_mini_batches(tools):
    assert tools.swap_epoch(FullBatches(0.1), tools.series([1.0] * 50, [1.0] * 50)) is None


def test_the_peak_opens_the_window(tools):
    assert tools.swap_epoch(PacedPeak(AtEpoch(120)), series(1.0)) == 120
    assert tools.swap_epoch(PacedPeak(AtEpoch(10)), series(1.0)) == 95


def climbing(observations: list[Observation], start: int) -> list[Observation]:
    return [replace(o, gradient_norm=1.0 if o.epoch < start else 1.0 + 0.05 * (o.epoch - start)) for o in observations]


@pytest.mark.parametrize(("power", "expected"), [(0.1, 60), (0.5, 95), (1.0, 127), (3.0, 150)])
def test_a_norm_that_never_rose_had_its_peak_at_the_start(tools, power, expected):
    assert tools.swap_epoch(PacedPeak(), series(power)) == expected
    assert tools.swap_epoch(PacedPeak(quiet_share=1.0), series(power)) == 150


@pytest.mark.parametrize(("start", "expected"), [(20, None), (100, 95)])
def test_a_norm_that_climbs_is_waited_for(tools, start, expected):
    assert tools.swap_epoch(PacedPeak(), climbing(series(0.5), start)) == expected


@pytest.mark.parametrize(("opens", "expected"), [(170, 170), (181, None)])
def test_no_swap_when_what_is_left_pays_for_the_start_alone(tools, opens, expected):
    assert tools.swap_epoch(PacedPeak(AtEpoch(opens), latest=1.0, quiet_share=1.0), series(1.0)) == expected


def test_a_swap_that_comes_too_late_says_why_it_does_not(tools):
    decision = PacedPeak(start_up=100.0).observe(series(1.0)[150])
    assert decision.reason.startswith("49 gradient-equivalents are left, and a convex phase that pays needs 200 (")


def reasons(observations, **settings):
    rule = PacedPeak(**settings)
    return {o.epoch: rule.observe(o).reason for o in observations}


def test_the_reason_names_what_is_waited_for_and_nothing_else():
    """Each kind of run in the words of the part that decides: no names of combinations, nothing that cannot decide yet."""
    quiet = reasons(series(1.0, 130))
    assert quiet[10].startswith("gradient norm 1 has not yet risen 1.5-fold")
    assert "without a peak" not in quiet[59]
    assert "; without a peak: pace: the first phase's loss falls as cost^-1, " in quiet[60]
    assert quiet[127].startswith("without a peak: at-share: 127 of 200 gradient-equivalents are spent")
    opened = reasons(series(1.0, 100), opener=AtEpoch(10))
    assert opened[80].startswith("the first phase's loss falls as cost^-1, ")
    assert "; window open since epoch 10 (" in opened[80]
    assert not any("without a peak" in reason for reason in opened.values())
    assert "; on full batches: 10 of 200 " in reasons(series(1.0, 10, steps=1))[10]
    everything = [*quiet.values(), *opened.values(), *reasons(climbing(series(0.5), 20)).values()]
    assert not any(name in reason for reason in everything for name in ("all-of(", "after(", "works on mini-batches"))


def test_a_run_that_has_too_little_left_says_so():
    """The last decision is the reason of a run that did not swap: on a short budget it must name the budget."""
    short = reasons([replace(o, budget=20.0) for o in series(1.0, 20)])
    assert all("are left, and a convex phase that pays needs 20" in reason for reason in short.values())
    late = reasons(climbing(series(0.5), 20))
    assert "are left" not in late[180]
    assert "without a peak: settled: gradient norm " in late[181]
    assert late[181].endswith("; 19 gradient-equivalents are left, and a convex phase that pays needs 20")


@pytest.mark.parametrize("name", ["mnist-softmax", "cifar-softmax"])
def test_swaps_well_after_the_peak_on_measured_series(tools, name):
    observations = tools.measured(name)
    peak, paced = (tools.swap_epoch(rule, observations) for rule in (GradientNormPeak(), PacedPeak()))
    assert peak < 70
    assert 90 < paced < 150


@pytest.mark.parametrize("cut", [3, 40, 99])
def test_resumed_rule_goes_on_exactly(tools, cut):
    alone, stopped = tools.resumed(PacedPeak(AtEpoch(10)), PacedPeak(AtEpoch(10)), series(1.0, 110), cut)
    assert stopped == alone
    assert alone[99].swap


def test_default_rule():
    assert default_rule(None).name == "gradient-norm-peak"
    assert default_rule(100.0).name == "paced-peak"


def test_needs_a_budget():
    with pytest.raises(ValueError, match="Pace needs a budget"):
        Pace().observe(Observation(epoch=1, loss=1.0, gradient_norm=1.0, cost=1.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"convex_power": 0.0}, "convex_power"),
        ({"start_up": -1.0}, "start_up"),
        ({"latest": 1.5}, "latest must be above 0"),
        ({"quiet_share": 0.0}, "quiet_share must be above 0"),
        ({"full_batch_share": 0.0}, "full_batch_share must be above 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        PacedPeak(**settings)


@pytest.mark.parametrize(("budget", "swaps"), [(3.0, False), (4.0, True), (40.0, True)])
def test_full_batches_swap_only_if_the_budget_pays_for_a_step(budget, swaps):
    rule = PacedPeak()
    seen = [
        rule.observe(Observation(epoch=e, loss=e**-0.5, gradient_norm=1.0, cost=float(e), budget=budget, epoch_steps=1))
        for e in range(1, int(budget) + 1)
    ]
    assert any(d.swap for d in seen) is swaps


def test_an_opener_may_probe():
    rule = PacedPeak(BudgetAware(AtEpoch(1)), latest=1.0, quiet_share=1.0)
    asked = [rule.observe(o).probe for o in series(1.0)[:4]]
    assert asked == [False, False, False, True]
    answer = ProbeResult(loss_before=0.25, loss_after=0.2, cost=3.0)
    assert not rule.observe(replace(series(1.0)[3], probe=answer)).swap
