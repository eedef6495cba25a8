from __future__ import annotations

import json

import pytest
import torch

from benchmarks.swap.cells import images, science
from benchmarks.swap.methods import REPLAYED
from benchmarks.swap.recording import Training, checkpoints, epoch_of_share, first_phase, replay
from homestretch import AtEpoch, LiteralPeak, Never, NoResort

CELLS = {
    "full batch": science("zoo-sin-64", 60.0, 1),
    "mini-batches": images("digits", "vit-nomlp-wkewq-wvwo", 8, 1, None, rows=48, batch=16),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_record_is_the_first_phase_and_survives_json(name):
    cell = CELLS[name]
    record = json.loads(json.dumps(first_phase(cell, 0)))
    assert len(record["observations"]) == len(record["seconds"]) == cell.epochs
    assert record["gradient_equivalents"] == pytest.approx(cell.budget)
    assert [o["epoch"] for o in record["observations"]] == list(range(1, cell.epochs + 1))
    assert any(o["noise_scale"] for o in record["observations"]) or name == "full batch"


@pytest.mark.parametrize("make", [LiteralPeak, lambda: AtEpoch(5), *REPLAYED.values()])
def test_a_replayed_rule_swaps_where_it_would_have_swapped(make):
    cell = CELLS["mini-batches"]
    found = replay(first_phase(cell, 0), make())
    training = Training(cell, 0, rule=make(), resort=NoResort())
    for _ in range(cell.epochs):
        training.epoch()
        if training.optimizer.phase == "second":
            break
    assert (found and found[0]) == training.optimizer.swap_epoch
    assert not found or found[1] == training.optimizer.swap_reason


def test_checkpoints_are_states_of_that_phase_and_made_once(tmp_path, monkeypatch):
    cell = CELLS["mini-batches"]
    paths = checkpoints(cell, 0, [2, 5], tmp_path)
    training = Training(cell, 0, rule=Never(), resort=NoResort())
    for _ in range(5):
        training.epoch()
    saved = torch.load(paths[5], weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in training.setting.model.state_dict().items())

    def no_run(*_, **__):
        raise AssertionError("the first phase was run again")

    monkeypatch.setattr("benchmarks.swap.recording.Training", no_run)
    assert checkpoints(cell, 0, [5, 2], tmp_path) == {5: paths[5], 2: paths[2]}


@pytest.mark.parametrize("name", CELLS)
def test_later_checkpoints_go_on_from_earlier_ones(name, tmp_path):
    cell = CELLS[name]
    checkpoints(cell, 0, [3], tmp_path / "parts")
    late = checkpoints(cell, 0, [7], tmp_path / "parts")[7]
    whole = checkpoints(cell, 0, [7], tmp_path / "whole")[7]
    late_model, whole_model = (torch.load(path, weights_only=True)["model"] for path in (late, whole))
    assert all(torch.equal(late_model[name], value) for name, value in whole_model.items())


def test_measuring_costs_nothing():
    training = Training(CELLS["full batch"], 0, rule=Never(), resort=NoResort())
    training.epoch()
    before = training.cost
    training.measure()
    assert training.cost == before


def test_shares_are_rounded_to_epochs():
    cell = science("zoo-sin-64", 2000.0, 1)
    assert [epoch_of_share(cell, share) for share in (0.0, 0.02, 0.5)] == [1, 40, 1000]
