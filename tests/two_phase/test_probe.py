from __future__ import annotations

import pytest

from homestretch import AtEpoch, BudgetAware, Never
from homestretch.history import DecisionRecord
from homestretch.swap import Decision
from homestretch.two_phase.probe import run_probe


def test_a_probe_without_a_step_is_no_answer(setting, run):
    _, _, optimizer = setting(rule=Never())
    run(optimizer, 2)
    asked = Decision(swap=False, reason="", rule="test", values={"probe_cost": 0.5}, probe=True)
    result = run_probe(optimizer, asked)
    assert result.trace == ()
    assert result.failure == "the 0.5 gradient-equivalents that it was allowed paid for no step"


@pytest.mark.parametrize("budget", [40.0, 100.0])
def test_small_budgets_pay_for_no_probe(setting, run, budget):
    _, _, optimizer = setting(rule=BudgetAware(AtEpoch(2)), budget=budget)
    run(optimizer, 8)
    assert optimizer.spent == pytest.approx(8.0)
    reason = optimizer.history.of(DecisionRecord)[-1].reason
    assert f"a probe of {0.015 * budget:.3g} gradient-equivalents, 1.50% of the budget, would not get to a step" in reason
