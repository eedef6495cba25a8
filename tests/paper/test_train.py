from __future__ import annotations

import pytest
import torch

from homestretch.errors import CheckpointError
from homestretch.history import EpochRecord, EventRecord, History
from homestretch.paper.settings import RECIPES, Problem
from homestretch.paper.task import load_task
from homestretch.paper.train import Control, train
from homestretch.training import RECORD

PROBLEM = Problem(model="vit-nomlp-wkewq-wvwo", train_limit=32, validation_limit=16, batch=16)
BUDGET = 6


def ran(out, name, **options):
    task = load_task(PROBLEM)
    out.mkdir(exist_ok=True)
    control = Control(out, **{k: options.pop(k) for k in ("resume", "validate") if k in options})
    return task, train(task, RECIPES[name], BUDGET, control, **options)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_spends_its_budget_and_tells(tmp_path, name):
    task, result = ran(tmp_path, name)
    assert result.gradient_equivalents >= BUDGET * (1 - 1e-9)
    assert "6 gradient-equivalents" in result.stop
    assert len(History.read(tmp_path / RECORD)) == len(result.history)
    last = result.history.of(EpochRecord)[-1]
    if last.phase == "second":
        assert task.measure()["train_loss"] == pytest.approx(last.loss, rel=1e-4)
        assert any(event.name == "swap" and event.epoch == result.swap_epoch for event in result.history.of(EventRecord))
    else:
        assert result.swap_epoch is None or RECIPES[name].resort
    assert [r.epoch for r in result.history.of(EpochRecord)] == list(range(1, result.epochs + 1))


@pytest.mark.parametrize("name", ["golden-30", "cg-alone-pr"])
def test_the_printed_accounting_is_the_same_run_gone_on(tmp_path, name):
    cut = ran(tmp_path / "both", name)[1].epochs
    _, both = ran(tmp_path / "both", name, resume=True, epochs=BUDGET)
    _, once = ran(tmp_path / "once", name, epochs=BUDGET)
    assert both.epochs == once.epochs == BUDGET
    ours, theirs = (x.history.of(EpochRecord) for x in (both, once))
    assert both.gradient_equivalents > BUDGET
    assert ours[-1].loss < ours[cut - 1].loss
    # Up to the search that the budget ends early both are the same.
    for part in ("loss", "gradient_norm", "gradient_equivalents"):
        assert [getattr(r, part) for r in ours[: cut - 1]] == [getattr(r, part) for r in theirs[: cut - 1]]


def test_validation_is_recorded_where_it_is_asked_for(tmp_path):
    _, result = ran(tmp_path, "adam", validate=True)
    assert {"validation_loss", "validation_accuracy"} <= set(result.history.of(EpochRecord)[0].metrics)


def test_both_ends_belong_together(tmp_path):
    with pytest.raises(ValueError, match="epochs must be"):
        ran(tmp_path, "adam", epochs=3)


def test_nothing_to_go_on_from(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        ran(tmp_path, "cg-alone-fr", resume=True)


def test_the_same_seed_gives_the_same_parameters(tmp_path):
    a, b = (ran(tmp_path / name, "golden-30")[0].model.state_dict() for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)
