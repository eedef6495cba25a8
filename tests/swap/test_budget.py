from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import pytest

from homestretch.swap import AtEpoch, BudgetAware, Forecast, Observation, ProbeResult
from homestretch.swap.budget import Convergence, best_moment

BUDGET = 200.0


@dataclass
class World:
    """Two phases with power laws: the first on the total cost, the convex one on its own clock after a gain made once."""

    power: float
    convex_power: float
    once: float
    warm_up: float = 2.0

    def first(self, cost: float) -> float:
        return 0.1 * (1.0 + cost) ** -self.power

    def convex(self, swapped: float, spent: float) -> float:
        settled = 1.0 - (1.0 - self.once) * min(spent, 1.0)
        return self.first(swapped) * settled * (1.0 + spent / self.warm_up) ** -self.convex_power

    def final(self, swapped: float | None, probes: float = 0.0) -> float:
        left = BUDGET - probes
        return self.first(left) if swapped is None else self.convex(swapped, left - swapped)

    def probe(self, at: float, cost: float) -> ProbeResult:
        trace = tuple((c, self.convex(at, c)) for c in [i + 1.0 for i in range(int(cost))])
        return ProbeResult(loss_before=self.first(at), loss_after=self.convex(at, cost), cost=cost, trace=trace)


def run(rule, world: World) -> tuple[float | None, float, int]:
    """Where the rule swaps, what its probes cost, and how many it asked for."""
    spent, probes = 0.0, 0
    for epoch in range(1, int(BUDGET) + 1):
        o = Observation(epoch=epoch, loss=world.first(epoch), gradient_norm=1.0, cost=epoch + spent, budget=BUDGET)
        decision = rule.observe(o)
        if decision.probe:
            probes += 1
            cost = decision.values["probe_cost"]
            spent += cost
            decision = rule.observe(replace(o, cost=o.cost + cost, probe=world.probe(epoch, cost)))
        if decision.swap:
            return float(epoch), spent, probes
    return None, spent, probes


WORLDS = {
    "convex phase far better": World(power=1.0, convex_power=2.0, once=0.8),
    "convex phase better": World(power=1.3, convex_power=1.3, once=0.8),
    "first phase better": World(power=1.3, convex_power=0.2, once=0.8),
    "gain made once, then nothing": World(power=1.3, convex_power=0.0, once=0.5),
    "first phase stands still": World(power=0.01, convex_power=0.5, once=1.0),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_regret_against_every_fixed_swap(world):
    swapped, spent, _ = run(BudgetAware(AtEpoch(8), probe_share=0.02), world)
    ours = world.final(swapped, spent)
    best = min(world.final(s) for s in [None, *range(2, 190)])
    stay = world.final(None)
    assert ours <= stay
    assert math.log10(ours / best) <= 0.2


@pytest.mark.parametrize(("name", "swaps"), [("convex phase far better", True), ("first phase stands still", True)])
def test_swaps_where_it_pays_in_the_long_run(name, swaps):
    assert (run(Forecast(probe_share=0.02), WORLDS[name])[0] is not None) is swaps


def test_probes_keep_to_their_share_and_intervals():
    stay = WORLDS["first phase better"]
    _, spent, probes = run(Forecast(probe_share=0.01, total_share=0.02), stay)
    assert probes == 2
    assert spent == pytest.approx(0.02 * BUDGET)
    _, _, probes = run(Forecast(probe_share=0.01, total_share=1.0, interval=3.0), stay)
    assert probes <= 6  # 4, 12, 36, 108, then the forecast moments, each at least a quarter later


def test_convergence_is_exact_for_a_power_law():
    trace = tuple((float(c), 0.5 * c**-0.7) for c in range(1, 9))
    found = Convergence.of(ProbeResult(loss_before=1.0, loss_after=trace[-1][1], cost=8.0, trace=trace))
    assert found.power == pytest.approx(0.7)
    assert found.log_loss(100.0) == pytest.approx(math.log(0.5 * 100.0**-0.7))


def test_without_a_trace_the_probe_counts_as_one_doubling():
    found = Convergence.of(ProbeResult(loss_before=1.0, loss_after=0.5, cost=4.0))
    assert found.log_loss(28.0) == pytest.approx(math.log(0.5**3))  # (28 + 4) / 4 = 8, three doublings
    assert found.log_loss(2.0) == pytest.approx(0.5 * math.log(0.5))


def test_probe_that_stands_still_promises_nothing():
    found = Convergence.of(ProbeResult(loss_before=1.0, loss_after=1.0, cost=4.0, trace=((2.0, 1.0), (4.0, 1.0))))
    assert found.power == 0.0
    assert found.log_loss(50.0) == 0.0


@pytest.mark.parametrize(("first", "convex"), [(1.0, 1.0), (2.0, 0.5), (0.3, 1.7), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_best_moment_is_the_minimum(first, convex):
    found = best_moment(first, convex, BUDGET)
    grid = [BUDGET * i / 1000 for i in range(1, 1000)]
    forecast = [-first * math.log(t) - convex * math.log(BUDGET - t) for t in grid]
    assert 0.0 <= found <= BUDGET
    if first > 0.0 and convex > 0.0:
        assert found == pytest.approx(grid[forecast.index(min(forecast))], abs=0.2)
    else:
        assert found == (BUDGET if convex == 0.0 else 0.0)


def asked() -> tuple[Forecast, Observation]:
    rule = Forecast()
    for epoch in range(1, 5):
        o = Observation(epoch=epoch, loss=1.0 / epoch, gradient_norm=1.0, cost=float(epoch), budget=BUDGET)
        decision = rule.observe(o)
    assert decision.probe
    assert decision.values == {"probe_cost": 3.0}
    return rule, o


@pytest.mark.parametrize(("after", "failure"), [(0.1, "the line search failed"), (math.nan, ""), (math.inf, "")])
def test_failed_probe_does_not_swap(after, failure):
    rule, o = asked()
    decision = rule.observe(replace(o, probe=ProbeResult(loss_before=0.25, loss_after=after, cost=3.0, failure=failure)))
    assert not decision.swap
    assert f"failed: {failure or 'its loss is not finite'}" in decision.reason
    assert rule.memory.spent == 3.0


def test_reason_gives_all_forecasts():
    rule, o = asked()
    decision = rule.observe(replace(o, probe=ProbeResult(loss_before=0.25, loss_after=0.01, cost=3.0)))
    assert not decision.swap  # b = 4.64 against a = 1: the best moment is a / (a + b) of 200
    assert decision.reason.startswith("with 193 gradient-equivalents left the final loss is forecast at ")
    assert decision.values["forecast_staying"] == pytest.approx(0.25 * 7.0 / 200.0)
    assert decision.values["best_moment"] == pytest.approx(200.0 / 5.644, rel=1e-3)


def test_last_forecast_stands_when_the_probes_are_spent():
    rule, o = asked()
    rule.total_share = 0.015
    rule.observe(replace(o, probe=ProbeResult(loss_before=0.25, loss_after=0.01, cost=3.0)))
    later = [rule.observe(replace(o, epoch=e, cost=float(e), loss=1.0 / e)) for e in range(5, 50)]
    assert 5 + [d.swap for d in later].index(True) == 36
    assert "forecast the best moment at 35.44" in later[-1].reason
    assert not any(d.probe for d in later)


def test_resumes_between_question_and_answer():
    rule, o = asked()
    fresh = Forecast()
    fresh.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    answer = replace(o, probe=ProbeResult(loss_before=0.25, loss_after=0.2, cost=3.0))
    assert fresh.observe(answer) == rule.observe(answer)
    assert fresh.state_dict() == rule.state_dict()


def test_needs_a_budget():
    with pytest.raises(ValueError, match="needs a budget"):
        Forecast().observe(Observation(epoch=1, loss=1.0, gradient_norm=1.0, cost=1.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"probe_share": 0.0}, "probe_share"), ({"interval": 1.0}, "interval"), ({"total_share": 2.0}, "total_share")],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        BudgetAware(**settings)


def test_probes_keep_to_their_share_after_a_return():
    rule = Forecast()
    rule.memory.spent = 7.0
    rule.begin_again()
    assert rule.memory.spent == 7.0
    rule.reset()
    assert rule.memory.spent == 0.0


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_losses_that_are_not_positive_are_not_forecast(loss):
    rule = Forecast()
    for epoch in range(1, 9):
        decision = rule.observe(Observation(epoch=epoch, loss=loss, gradient_norm=1.0, cost=float(epoch), budget=100.0))
        assert not decision.swap
        assert not decision.probe
    assert "not positive" in decision.reason


@pytest.mark.parametrize(("budget", "asks"), [(133.0, False), (134.0, True)])
def test_no_probe_where_it_would_not_get_to_a_step(budget, asks):
    rule = Forecast()
    for epoch in range(1, 6):
        decision = rule.observe(Observation(epoch=epoch, loss=1.0 / epoch, gradient_norm=1.0, cost=float(epoch), budget=budget))
    assert decision.probe is asks
    assert ("would not get to a step" in decision.reason) is not asks
