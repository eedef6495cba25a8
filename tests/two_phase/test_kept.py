from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.optim import Adam

from homestretch import LBFGS, AtEpoch, evaluate, fit
from homestretch.history import EpochRecord, EventRecord
from homestretch.resort import MeasuredResort


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
