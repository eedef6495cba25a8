from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from homestretch import (
    LBFGS,
    AtEpoch,
    Growth,
    HeldOut,
    LeastSquares,
    NoResort,
    Objective,
    SelfScaledBroyden,
    TwoPhase,
    evaluate,
    fit,
)
from homestretch.history import EpochRecord, EventRecord, IterationRecord
from homestretch.resort import MeasuredResort
from tests.two_phase.conftest import make_data


def went_back(setting, run, return_after, rate):
    """A run that has gone back, and the lowest loss of its convex phase."""
    _, objective, optimizer = setting(resort=return_after(3), rate=rate)
    run(optimizer, 7)
    assert optimizer.phase == "first"
    return objective, optimizer, min(r.loss for r in optimizer.history.of(EpochRecord) if r.phase == "second")


def test_a_first_phase_that_ends_above_the_best_point_is_taken_back_to_it(setting, run, return_after):
    objective, optimizer, best = went_back(setting, run, return_after, rate=0.3)
    assert objective.loss() > 1.1 * best
    spent = optimizer.meter.forwards
    assert optimizer.restore_best()
    assert optimizer.meter.forwards == pytest.approx(spent + 2)
    assert objective.loss() == pytest.approx(best, rel=1e-12)
    assert optimizer.history.of(EventRecord)[-1].name == "restored"
    assert not optimizer.restore_best()


def test_a_first_phase_that_goes_below_stays(setting, run, return_after):
    objective, optimizer, best = went_back(setting, run, return_after, rate=1e-3)
    run(optimizer, 60)
    before = [p.detach().clone() for p in objective.parameters]
    assert objective.loss() < best
    assert not optimizer.restore_best()
    assert all(torch.equal(p, b) for p, b in zip(objective.parameters, before, strict=True))


def test_nothing_kept_costs_nothing(setting, run):
    _, _, optimizer = setting()
    run(optimizer, 5)
    spent = optimizer.meter.gradient_equivalents
    assert not optimizer.restore_best()
    assert optimizer.meter.gradient_equivalents == spent


def test_what_is_kept_is_part_of_the_state(setting, run, return_after):
    objective, optimizer, best = went_back(setting, run, return_after, rate=0.3)
    model, other, again = setting(resort=return_after(3), rate=0.3)
    model.load_state_dict(objective.model.state_dict())
    again.load_state_dict(optimizer.state_dict())
    assert again.restore_best()
    assert other.loss() == pytest.approx(best, rel=1e-12)


class GivesUp(MeasuredResort):
    """Goes back after three steps, and does not swap again."""

    def __init__(self):
        super().__init__(last_stretch=0.0)

    def judge(self, cost, loss, failure):
        return self.decide(self.memory.steps == 3, "three steps are enough")


@pytest.mark.parametrize(("rate", "epochs", "goes_below"), [(0.3, 9, False), (3e-3, 40, True)])
def test_fit_ends_no_higher_than_the_best_point(network, data, rate, epochs, goes_below):
    model = network()
    result = fit(
        model, mse_loss, data(), epochs=epochs, batch_size=16, first=lambda p: Adam(p, lr=rate), second=LBFGS, rule=AtEpoch(3),
        resort=GivesUp(), evidence=None,
    )  # fmt: skip
    best = min(r.loss for r in result.history.of(EpochRecord) if r.phase == "second")
    assert evaluate(model, mse_loss, data())["loss"] <= best * (1 + 1e-12)
    restored = "restored" in [e.name for e in result.history.of(EventRecord)]
    assert restored is not goes_below
    if restored:
        assert result.loss == pytest.approx(best, rel=1e-12)


def test_a_loss_that_is_not_finite_gives_way_to_the_point_kept(setting, run, return_after):
    objective, optimizer, best = went_back(setting, run, return_after, rate=1e-3)
    with torch.no_grad():
        objective.parameters[0].fill_(math.nan)
    assert optimizer.restore_best()
    assert objective.loss() == pytest.approx(best, rel=1e-12)


def batch_norm(mode, return_after, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).double()
    objective = Objective(model, mse_loss, make_data(), batch_size=16, micro_batch=60, mode=mode)
    first = Adam(model.parameters(), lr=0.1)
    resort = return_after(4, **options)
    return (
        model,
        objective,
        TwoPhase(model.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(3), resort=resort, evidence=None),
    )


def test_the_point_put_back_has_its_statistics(run, return_after):
    model, objective, optimizer = batch_norm("train", return_after)
    run(optimizer, 8)
    with torch.no_grad():
        model[3].weight.fill_(5.0)
    assert optimizer.restore_best()
    returned = evaluate(model, mse_loss, make_data())["loss"]
    objective.settle()
    assert returned == pytest.approx(evaluate(model, mse_loss, make_data())["loss"], rel=1e-12)


def test_statistics_estimated_anew_do_not_make_a_higher_point_the_best(run, return_after):
    """The second return comes with fewer steps and a higher loss."""
    model, _, optimizer = batch_norm("eval", return_after, retry_after=1)
    run(optimizer, 7)
    first = optimizer.kept.loss
    optimizer.resort.steps = 1
    with torch.no_grad():
        model[3].weight.fill_(5.0)
    run(optimizer, 3)
    assert optimizer.resort.memory.returns == 2
    assert optimizer.kept.loss == first


def test_a_point_chosen_by_what_is_held_out_stays(return_after):
    """The held-out residual ends the run; the training loss, higher there than before, is no reason to go back or elsewhere."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1)).double()
    points = torch.linspace(-1, 1, 24, dtype=torch.float64).unsqueeze(1)
    noise = 0.5 * torch.randn(24, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = torch.cat([points, noise], 1)
    held = HeldOut(0.25, every=5, patience=4)
    f = LeastSquares(lambda m, p: m(p[:, :1]) - torch.sin(3.0 * p[:, :1]) - p[:, 1:], model, both, held_out=held)
    result = fit(model, f, epochs=300, rule=AtEpoch(12), second=SelfScaledBroyden, evidence=None)
    assert "held-out" in result.stop
    assert [e.name for e in result.history.of(EventRecord)] == ["swap", "stop"]
    looks = [r.extra["held_out_loss"] for r in result.history.of(IterationRecord) if "held_out_loss" in r.extra]
    assert f.loss_at(f._watch.points) == pytest.approx(min(looks), rel=1e-9)


def growing(resort):
    """A line fitted by few steps on one point in twelve, which the others contradict."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1).double()
    inputs = torch.linspace(-1, 1, 12, dtype=torch.float64).unsqueeze(1)
    noise = torch.randn(12, 1, dtype=torch.float64)
    growth = Growth(start=0.1, factor=4.0, check_every=2)
    objective = Objective(model, mse_loss, (inputs, inputs + 3.0 * noise), batch_size=3, growth=growth)
    first = Adam(model.parameters(), lr=0.3)
    return objective, TwoPhase(
        model.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(6), resort=resort, evidence=None
    )


def test_a_step_on_a_part_of_the_data_is_gone_back_from_to_the_best_point_by_all(run):
    objective, optimizer = growing(MeasuredResort(spike=1.01))
    run(optimizer, 6)
    start, at_swap = objective.loss(), [p.detach().clone() for p in objective.parameters]
    while optimizer.phase == "second":
        run(optimizer, 1)
    assert optimizer.history.of(EventRecord)[-1].name == "resort"
    assert "the best point by all the data" in optimizer.history.of(EventRecord)[-1].message
    assert objective.loss() == start
    assert all(torch.equal(p, q) for p, q in zip(objective.parameters, at_swap, strict=True))


def test_what_is_kept_while_the_data_grow_is_dropped_once_it_is_not_the_best(run):
    objective, optimizer = growing(NoResort())
    run(optimizer, 7)
    assert optimizer.kept.parameters
    run(optimizer, 20)
    assert optimizer.growing.complete
    assert optimizer.kept.price(objective) == 0.0 or objective.loss() < optimizer.kept.loss
