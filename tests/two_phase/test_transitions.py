from __future__ import annotations

import pytest

from homestretch import AtEpoch
from homestretch.history import DecisionRecord


@pytest.mark.parametrize(("budget", "swaps"), [(4.9, False), (5.0, True)])
def test_no_swap_where_the_budget_pays_for_no_step(setting, run, budget, swaps):
    _, _, optimizer = setting(budget=budget)
    run(optimizer, 3)
    assert (optimizer.phase == "second") is swaps
    last = optimizer.history.of(DecisionRecord)[-1]
    assert last.swap is swaps
    if not swaps:
        assert last.reason.startswith("1.9 gradient-equivalents are left, and 2 pay for a step of the convex phase: no swap (")
        assert optimizer.spent == pytest.approx(3.0)


def test_a_plan_is_no_bound(setting, run):
    _, _, optimizer = setting(rule=AtEpoch(3))
    optimizer.plan(3.0)
    run(optimizer, 4)
    assert optimizer.phase == "second"
