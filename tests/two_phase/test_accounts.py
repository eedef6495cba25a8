from __future__ import annotations

import numpy as np
import pytest

from homestretch import AtShare, Never
from homestretch.swap import Fallback, Pace


@pytest.mark.parametrize("budget", [np.float64(50), np.float32(50), np.int64(50), 50])
def test_a_budget_is_a_number_of_pythons(setting, budget):
    assert type(setting(budget=budget)[2].budget) is float
    _, _, optimizer = setting()
    optimizer.plan(budget)
    assert type(optimizer.budget) is float
    with pytest.raises(TypeError, match="budget must be a number, got '50'"):
        setting(budget="50")


@pytest.mark.parametrize("rule", [AtShare(0.5), Pace(), Fallback(Never())])
def test_a_rule_without_its_budget_is_refused_before_a_step(setting, run, rule):
    model, _, optimizer = setting(rule=rule)
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=f"rule: .*{rule.name}.* needs a budget".replace("(", r"\(").replace(")", r"\)")):
        run(optimizer, 1)
    assert before.equal(model[0].weight)
    optimizer.plan(50.0)  # as an integration does
    run(optimizer, 1)


def test_evidence_that_cannot_be_paid_for_is_said_at_once(setting):
    with pytest.warns(UserWarning, match=r"never swap, for 1 gradient-equivalents are allowed .* for 60 samples: use a larger"):
        setting(evidence="wait", budget=100.0)
    _, _, optimizer = setting(evidence="wait")
    with pytest.warns(UserWarning, match="never swap"):
        optimizer.plan(100.0)
    setting(evidence="wait", budget=4000.0)
