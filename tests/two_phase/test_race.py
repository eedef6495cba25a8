from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam

from homestretch import LBFGS, AtEpoch, NoResort, Objective, TwoPhase
from homestretch.history import EpochRecord, EventRecord, IterationRecord
from homestretch.resort import Race


def event(optimizer, name):
    return next(e for e in optimizer.history.of(EventRecord) if e.name == name)


def names(optimizer):
    return [e.name for e in optimizer.history.of(EventRecord)]


def parameters(optimizer):
    return [p.detach().clone() for p in optimizer.objective.parameters]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Crawling(LBFGS):
    """A convex phase that hardly moves, so that the first phase wins."""

    def step(self, closure=None):
        before = [p.detach().clone() for p in self.parameters]
        loss = super().step(closure)
        with torch.no_grad():
            for p, b in zip(self.parameters, before, strict=True):
                p.lerp_(b, 0.999)
        return loss


def test_the_convex_phase_wins_and_goes_on_from_its_end(setting, run):
    _, objective, optimizer = setting(rule=AtEpoch(4), resort=Race(0.1), budget=60.0)
    run(optimizer, 4)
    assert optimizer.phase == "second"
    assert (optimizer.epochs, optimizer.first_epochs, optimizer.first_steps) == (4, 4, 16)
    assert names(optimizer) == ["race", "swap"]
    values = event(optimizer, "race").values
    assert values["second_loss"] < values["first_loss"]
    assert objective.loss() <= values["second_loss"] * (1.0 + 1e-12)
    # 4 epochs, 6 of each runner and a line search at most, the first runner's last loss, the check of the loss, loss() above
    cost = objective.meter.gradient_equivalents
    assert 4 + 6 + 6 <= cost <= 4 + 6 + 3 + 6 + 1 / 3 + 1 + 1 / 3
    assert values["total_cost"] == pytest.approx(cost - 4 - 1 / 3, abs=1.0)
    run(optimizer, 2)
    losses = [r.loss for r in optimizer.history.of(IterationRecord)]
    assert len(losses) >= 4
    assert losses == sorted(losses, reverse=True)


def test_a_won_race_is_the_convex_phase_without_a_race(setting, run):
    raced, plain = setting(resort=Race(0.1), budget=60.0)[2], setting(resort=NoResort(), budget=60.0)[2]
    run(raced, 3)
    iterations = len(raced.second.history)
    run(plain, 3 + iterations)
    assert same(parameters(raced), parameters(plain))
    run(raced, 3)
    run(plain, 3)
    assert same(parameters(raced), parameters(plain))


def test_the_loser_leaves_no_trace_in_the_first_optimizer(setting, run):
    raced, plain = setting(resort=Race(0.1), budget=60.0)[2], setting(resort=NoResort(), budget=60.0)[2]
    for optimizer in (raced, plain):
        run(optimizer, 3)
    assert optimizer.phase == "second"
    for one, other in zip(raced.first.state.values(), plain.first.state.values(), strict=True):
        assert all(torch.equal(one[k], other[k]) for k in other)
    assert raced.param_groups is raced.first.param_groups
    assert [r.epoch for r in raced.history.of(EpochRecord)] == [1, 2, 3]


def test_the_first_phase_wins_and_its_epochs_are_those_of_a_run_without_a_race(setting, run):
    raced, plain = setting(resort=Race(0.1), second=Crawling, budget=60.0)[2], setting(rule=AtEpoch(99))[2]
    run(raced, 3)
    assert raced.phase == "first"
    assert names(raced) == ["race"]
    assert raced.epochs == raced.first_epochs == 3 + 6
    run(plain, 9)
    assert same(parameters(raced), parameters(plain))
    found, expected = ([r.loss for r in o.history.of(EpochRecord)] for o in (raced, plain))
    assert found == expected
    run(raced, 2)
    run(plain, 2)
    assert same(parameters(raced), parameters(plain))
    assert raced.resort.memory.returns == 1
    assert not raced.history.of(IterationRecord)


@pytest.mark.parametrize("second", [LBFGS, Crawling])
@pytest.mark.parametrize("cut", [3, 4])
def test_a_reload_after_the_race_goes_on_bit_for_bit(setting, run, second, cut):
    def make():
        return setting(resort=Race(0.1), second=second, budget=60.0)

    (_, _, alone), (model, _, stopped), (other, _, fresh) = make(), make(), make()
    run(alone, cut + 3)
    run(stopped, cut)
    buffer = io.BytesIO()
    torch.save(stopped.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(model.state_dict())
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    run(fresh, 3)
    assert same(parameters(fresh), parameters(alone))
    recorded = [r.iteration for h in (stopped.history, fresh.history) for r in h.of(IterationRecord)]
    assert recorded == [r.iteration for r in alone.history.of(IterationRecord)]  # those of the race too, once


def test_random_numbers_and_buffers_are_safe(run):
    def make(resort):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2)).double()
        generator = torch.Generator().manual_seed(2)
        inputs = torch.randn(60, 3, generator=generator, dtype=torch.float64)
        objective = Objective(model, mse_loss, (inputs, inputs[:, :2] ** 2), batch_size=16)
        return TwoPhase(
            model.parameters(),
            objective,
            first=SGD(model.parameters(), lr=1e-3, momentum=0.9),
            second=LBFGS,
            rule=AtEpoch(3),
            resort=resort,
            evidence=None,
            budget=60.0,
        )

    found = []
    for resort in (Race(0.1), NoResort()):
        optimizer = make(resort)
        torch.manual_seed(5)
        run(optimizer, 3)
        assert optimizer.phase == "second"
        found.append(([b.clone() for b in optimizer.objective.model.buffers()], torch.rand(1)))
    assert same(*(buffers for buffers, _ in found))
    assert torch.equal(found[0][1], found[1][1])


def test_a_convex_phase_that_cannot_start_loses(setting, run, monkeypatch):
    _, objective, optimizer = setting(resort=Race(0.1), budget=60.0)
    run(optimizer, 2)
    whole = type(objective).__call__
    monkeypatch.setattr(type(objective), "__call__", lambda self: whole(self) * math.nan)
    run(optimizer, 1)
    assert optimizer.phase == "first"
    assert optimizer.epochs == 9


def test_no_race_where_too_little_is_left(setting, run):
    _, objective, optimizer = setting(rule=AtEpoch(10), resort=Race(0.5), budget=20.0)
    run(optimizer, 10)
    assert optimizer.phase == "second"
    assert names(optimizer) == ["swap"]
    assert objective.meter.gradient_equivalents < 12.0


def test_needs_an_objective(network):
    model = network()
    with pytest.raises(ValueError, match="needs an objective"):
        TwoPhase(model.parameters(), first=Adam(model.parameters()), resort=Race())
