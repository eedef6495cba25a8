from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from homestretch import LBFGS, AtEpoch, Never, NoResort, StopReason, TwoPhase
from homestretch.integrations.common import (
    end_epoch,
    in_second_phase,
    is_ours,
    plan_budget,
    plan_further,
    renew,
    step_to_accepted,
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


def test_passes_are_counted():
    p = nn.Parameter(torch.ones(3))
    optimizer = TwoPhase([p], first=torch.optim.SGD([p], lr=0.1), second=LBFGS, rule=Never())
    optimizer.step(bowl(p))
    end_epoch(optimizer, passes=4)
    assert optimizer.meter.gradient_equivalents == 4.0


def test_a_plan_goes_on_from_what_is_spent():
    p = nn.Parameter(torch.ones(3))
    optimizer = TwoPhase([p], first=torch.optim.SGD([p], lr=0.1), second=LBFGS)
    plan_further(optimizer, None)
    assert optimizer.budget is None
    plan_further(optimizer, 5)
    assert optimizer.budget == 5.0
    optimizer.step(bowl(p))
    end_epoch(optimizer, passes=3)
    plan_further(optimizer, 5)
    assert optimizer.budget == 8.0


def test_renewing_evaluates_the_point_again():
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LBFGS([p])
    optimizer.step(bowl(p))
    renew(optimizer)
    optimizer.step(lambda: bowl(p)() + 1.0)
    assert optimizer.start_loss == pytest.approx(1.0 + optimizer.history[0].loss)
    renew(TwoPhase([p], first=torch.optim.SGD([p], lr=0.1), second=LBFGS))  # its convex phase has not begun


class Normalized(nn.Module):
    """Its parameter shifts what its batch norm sees, so that the running mean tells where it was evaluated."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.norm = nn.BatchNorm1d(1, dtype=torch.float64)

    def forward(self, inputs):
        return self.norm(inputs + self.shift)


@pytest.fixture
def shifted():
    """A module with a batch norm, its optimizer, and a closure that notes where it is called."""
    model = Normalized()
    inputs = torch.arange(4.0, dtype=torch.float64).unsqueeze(1)  # of mean 1.5
    optimizer, places = LBFGS(model.parameters()), []

    def closure():
        places.append(float(model.shift.detach()))
        loss = (model(inputs) ** 2).sum() + (model.shift**2).sum()
        loss.backward()
        return loss

    return model, optimizer, closure, places


@pytest.mark.parametrize(("trials", "accepted"), [([1.0, 2.0, 3.0], 2.0), ([1.0, 2.0], 2.0), ([1.0, 2.0], 0.5), ([], 0.5)])
def test_a_step_ends_with_the_statistics_of_its_point(shifted, trials, accepted):
    """Without an evaluation there, as where nothing is found, it makes one and leaves the gradients at hand alone."""
    model, optimizer, closure, places = shifted
    held = model.shift.grad = torch.full((1,), 7.0, dtype=torch.float64)

    @torch.no_grad()
    def step(watched):
        for trial in trials:
            model.shift.fill_(trial)
            model.shift.grad = None
            with torch.enable_grad():
                watched()
        model.shift.fill_(accepted)
        return "done"

    assert step_to_accepted(step, closure, optimizer, model) == "done"
    assert places == (trials if accepted in trials else [*trials, accepted])
    assert float(model.norm.running_mean) == 1.5 + accepted
    assert model.norm.momentum == 0.1
    assert float(held) == 7.0


def test_a_step_of_the_first_phase_is_left_alone(shifted):
    model, _, closure, places = shifted
    optimizer = TwoPhase(model.parameters(), first=torch.optim.SGD(model.parameters(), lr=0.1), second=LBFGS)
    step_to_accepted(optimizer.step, closure, optimizer, model)
    assert places == [0.0]
    assert float(model.norm.running_mean) == pytest.approx(0.15)


def test_other_optimizers_are_not_ours():
    p = nn.Parameter(torch.ones(3))
    assert not is_ours(torch.optim.SGD([p]))
    assert is_ours(LBFGS([p]))


def test_dropout_is_warned_about_by_name():
    with pytest.warns(UserWarning, match=r"dropout \(1\)"):
        warn_about_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Dropout(0.0)))
    warn_about_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
