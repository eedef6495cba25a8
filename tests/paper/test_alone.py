from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import ConjugateGradient, Objective
from homestretch.history import EpochRecord, History, IterationRecord
from homestretch.paper.alone import descend
from homestretch.paper.methods import make_torch_lbfgs
from homestretch.searches import GoldenSection


@pytest.fixture
def objective():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    inputs = torch.randn(40, 3, dtype=torch.float64)
    return Objective(model, mse_loss, (inputs, inputs.prod(1, keepdim=True)))


def test_torchs_lbfgs_ends_at_its_best_point_within_the_budget(objective):
    history = History()
    made, stop = descend(objective, make_torch_lbfgs(objective.parameters), history, budget=30.0, done=5)
    spent = objective.meter.gradient_equivalents
    assert spent == 30.0
    assert "30 gradient-equivalents" in stop
    records = history.of(EpochRecord)
    assert made == records[-1].epoch == 5 + len(records)
    losses = [r.loss for r in records]
    assert losses == sorted(losses, reverse=True)
    assert float(objective()) == pytest.approx(losses[-1], rel=1e-12)
    norm = torch.cat([p.grad.flatten() for p in objective.parameters]).norm()
    assert records[-1].gradient_norm == pytest.approx(float(norm), rel=1e-9)


def test_torchs_lbfgs_is_the_plain_optimizer(objective):
    start = [p.detach().clone() for p in objective.parameters]
    history = History()
    descend(objective, make_torch_lbfgs(objective.parameters), history, budget=25.0)
    for p, value in zip(objective.parameters, start, strict=True):
        p.data.copy_(value)
    seen = []

    def closure():
        loss = objective()
        seen.append(float(loss))
        return loss

    optimizer = make_torch_lbfgs(objective.parameters)
    while len(seen) < 25:
        optimizer.step(closure)
    assert history.of(EpochRecord)[-1].loss == min(seen[:25])


def test_an_optimizer_that_no_longer_moves_ends(objective):
    frozen = torch.optim.LBFGS(objective.parameters, lr=0.0)
    _, stop = descend(objective, frozen, History(), budget=50.0)
    assert stop == "LBFGS no longer moves"


@pytest.mark.parametrize(("limits", "end"), [({"budget": 12.0}, "12 gradient"), ({"budget": 1e9, "epochs": 4}, "all 4 epochs")])
def test_a_descent_is_recorded_iteration_by_iteration(objective, limits, end):
    history, saved, told = History(), [], []
    descent = ConjugateGradient(objective.parameters)
    made, stop = descend(objective, descent, history, save=saved.append, callbacks=[told.append], **limits)
    assert end in stop
    assert [r.epoch for r in history.of(EpochRecord)] == saved == [p.epoch for p in told] == list(range(1, made + 1))
    assert [r.loss for r in history.of(EpochRecord)] == [r.loss for r in history.of(IterationRecord)]


def test_a_descent_that_stops_says_why(objective):
    descent = ConjugateGradient(objective.parameters, target_loss=1e9)
    _, stop = descend(objective, descent, History(), budget=1e9)
    assert stop.startswith("the convex phase stopped")


@pytest.mark.parametrize("budget", [7.0, 12.5, 20.0])
def test_a_descent_overspends_by_one_evaluation_at_most(objective, budget):
    descend(objective, ConjugateGradient(objective.parameters, search=GoldenSection()), History(), budget=budget)
    assert budget - 1.0 <= objective.meter.gradient_equivalents <= budget + 1.0
