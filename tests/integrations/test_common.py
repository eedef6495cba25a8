from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from homestretch import LBFGS, AtEpoch, NoResort, StopReason, TwoPhase
from homestretch.integrations.common import (
    end_epoch,
    in_second_phase,
    is_ours,
    plan_budget,
    step_with_call,
    warn_about_dropout,
)


def bowl(p):
    def closure():
        p.grad = None
        loss = (p**2).sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("library", ["lightning", "skorch", "deepxde"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(library, monkeypatch):
    for name in {library, *(name for name in sys.modules if name.startswith(f"{library}."))}:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"homestretch.integrations.{library}", raising=False)
    with pytest.raises(ImportError, match=rf"needs {library}: pip install \"homestretch\[integrations\]\""):
        importlib.import_module(f"homestretch.integrations.{library}")


def test_importing_homestretch_imports_no_other_framework():
    code = "import sys, homestretch, homestretch.integrations; assert not {'lightning', 'skorch', 'deepxde'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("given", "epochs", "budget"), [(None, 30, 30.0), (12.5, 30, 12.5), (None, None, None), (None, -1, None), (None, 0, None)]
)
def test_the_planned_epochs_are_the_budget_of_who_has_none(given, epochs, budget):
    p = nn.Parameter(torch.ones(3))
    optimizer = TwoPhase([p], first=torch.optim.SGD([p], lr=0.1), second=LBFGS, budget=given)
    plan_budget(optimizer, epochs)
    assert optimizer.budget == budget


def test_a_method_alone_has_no_plan():
    optimizer = LBFGS([nn.Parameter(torch.ones(3))])
    plan_budget(optimizer, 30)
    assert not hasattr(optimizer, "budget")


def test_end_epoch_asks_the_rule_and_reports_the_stop():
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = TwoPhase([p], first=torch.optim.SGD([p], lr=0.1), second=LBFGS, rule=AtEpoch(1), resort=NoResort())
    closure = bowl(p)
    optimizer.step(closure)
    assert end_epoch(optimizer) == ""
    assert in_second_phase(optimizer)
    reason = ""
    for _ in range(20):
        optimizer.step(closure)
        reason = end_epoch(optimizer)
        if reason:
            break
    assert reason == f"LBFGS stopped: {StopReason.GRADIENT_ZERO.value}"


def test_end_epoch_of_a_method_alone():
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LBFGS([p])
    assert in_second_phase(optimizer)
    optimizer.step(bowl(p))
    assert end_epoch(optimizer) == ""
    optimizer.step(bowl(p))
    assert "stationary point" in end_epoch(optimizer)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_step_calls_its_closure_at_least_once(calls):
    made = []

    def step(closure, scale):
        return sum(closure() for _ in range(calls)) * scale

    assert step_with_call(step, lambda: made.append(1) or 1.0, scale=2.0) == 2.0 * calls
    assert len(made) == max(calls, 1)


def test_other_optimizers_are_not_ours():
    p = nn.Parameter(torch.ones(3))
    assert not is_ours(torch.optim.SGD([p]))
    assert is_ours(LBFGS([p]))


def test_dropout_is_warned_about_by_name():
    with pytest.warns(UserWarning, match=r"dropout \(1\)"):
        warn_about_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Dropout(0.0)))
    warn_about_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
