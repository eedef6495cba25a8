from __future__ import annotations

import pytest

from benchmarks.swap.cells import images, science
from benchmarks.swap.methods import Live, live_methods
from benchmarks.swap.recording import Training, first_phase
from benchmarks.swap.runs import live_run, swapped_run
from homestretch import AtEpoch, NoResort
from homestretch.resort import Resort

CELLS = {
    "full batch": science("zoo-sin-64", 60.0, 1),
    "mini-batches": images("digits", "vit-nomlp-wkewq-wvwo", 10, 1, None, rows=48, batch=16),
}


class AtOnce(Resort):
    """Goes back after the first step."""

    name = "at-once"

    def judge(self, cost, loss, failure):
        return self.decide(True, "this is a test")


@pytest.mark.parametrize("name", CELLS)
def test_a_run_from_a_stored_epoch_is_the_run_that_swapped_there(name, tmp_path):
    cell = CELLS[name]
    stored = swapped_run(cell, 0, 4, tmp_path)
    live = live_run(cell, 0, Live("at-4", lambda: {"rule": AtEpoch(4), "resort": NoResort()}))
    for column in ("loss", "error", "gradient_equivalents", "evaluations"):
        assert stored[column] == live[column], column
    assert live["swap_epoch"] == stored["swap_epoch"] == 4
    assert stored["gradient_equivalents"] <= cell.budget + 1e-6


def test_the_end_of_a_run_that_went_back_is_evaluated_over_all_the_data():
    cell = CELLS["mini-batches"]
    found = live_run(cell, 0, Live("back", lambda: {"rule": AtEpoch(5), "resort": AtOnce()}))
    assert found["returns"] == 1
    assert found["status"] == "ended in the first phase"
    assert found["gradient_equivalents"] <= cell.budget


@pytest.mark.parametrize("method", live_methods(), ids=lambda method: method.name)
def test_live_methods_stay_within_the_budget(method):
    cell = CELLS["full batch"]
    found = live_run(cell, 0, method)
    assert 0.9 * cell.budget < found["gradient_equivalents"] <= cell.budget + 1e-6
    assert found["loss"] > 0.0
    assert found["error"] > 0.0


def test_cosine_changes_the_rate_and_nothing_else():
    cell = CELLS["mini-batches"]
    found = live_run(cell, 0, next(m for m in live_methods() if m.name == "adam-cosine"))
    assert found["swap_epoch"] is None
    assert found["gradient_equivalents"] == pytest.approx(cell.budget)
    assert found["loss"] != first_phase(cell, 0)["end"]["loss"]
    training = Training(cell, 0, cosine=True)
    for _ in range(cell.epochs):
        training.schedule.optimizer._opt_called = True  # only the rate is looked at
        training.schedule.step()
    assert training.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
