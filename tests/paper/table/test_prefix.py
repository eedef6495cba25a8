from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from homestretch.history import EpochRecord, EventRecord, History, IterationRecord
from homestretch.paper.settings import RECIPES, Problem
from homestretch.paper.table.prefix import Keeper, Watching, graft
from homestretch.paper.task import load_task
from homestretch.paper.train import Control, train
from homestretch.training import RECORD

PROBLEM = Problem(model="vit-nomlp-wkewq-wvwo", train_limit=48, validation_limit=16, batch=16)
EPOCHS = 12


@pytest.fixture(scope="module")
def adam(tmp_path_factory):
    out = tmp_path_factory.mktemp("adam")
    control = Control(out, callbacks=[Keeper(out, EPOCHS, [0.3])])
    train(load_task(PROBLEM), RECIPES["adam"], EPOCHS, control, rule=Watching())
    return out


def course(place):
    history = History.read(place / RECORD)
    epochs = [(r.epoch, r.phase, r.loss, r.gradient_norm, r.gradient_equivalents) for r in history.of(EpochRecord)]
    iterations = [(r.iteration, r.loss, r.step) for r in history.of(IterationRecord)]
    return epochs, iterations, [(r.epoch, r.name, r.message) for r in history.of(EventRecord)]


@pytest.mark.parametrize("name", ["golden-30", "golden-rule", "lbfgs", "lbfgs-adam-30", "auto"])
def test_a_run_from_shared_epochs_is_the_run_by_itself(adam, tmp_path, name):
    recipe = RECIPES[name]
    by_itself, shared = tmp_path / "by-itself", tmp_path / "shared"
    for place in (by_itself, shared):
        place.mkdir()
    alone = train(load_task(PROBLEM), recipe, EPOCHS, Control(by_itself))
    task = load_task(PROBLEM)
    epoch = graft(adam, task, recipe, EPOCHS, shared)
    assert epoch > 0
    result = train(task, recipe, EPOCHS, Control(shared, resume=True))
    assert course(shared) == course(by_itself)
    assert (result.swap_epoch, result.swap_reason) == (alone.swap_epoch, alone.swap_reason)
    assert result.swap_reason
    assert result.gradient_equivalents == course(shared)[0][-1][-1] or name == "lbfgs"


def test_a_state_that_a_kill_left_empty_is_passed_over(adam, tmp_path):
    """Adam's run may be killed after its last checkpoint and before its last state: no later command makes that good."""
    broken, shared, by_itself = (tmp_path / name for name in ("adam", "shared", "by-itself"))
    shutil.copytree(adam, broken)
    shared.mkdir()
    for file in (broken / "states" / f"{EPOCHS:05d}").iterdir():
        file.unlink()
    task = load_task(PROBLEM)
    assert graft(broken, task, RECIPES["auto"], EPOCHS, shared) == EPOCHS - 1
    train(task, RECIPES["auto"], EPOCHS, Control(shared, resume=True))
    train(load_task(PROBLEM), RECIPES["auto"], EPOCHS, Control(by_itself))
    assert course(shared) == course(by_itself)


def test_the_shared_epochs_end_before_the_rule_acts(adam, tmp_path):
    (tmp_path / "a").mkdir()
    early = replace(RECIPES["golden-30"], swap_at=0.5)
    assert graft(adam, load_task(PROBLEM), early, EPOCHS, tmp_path / "a") == 5


def test_without_adam_there_is_nothing_to_share(tmp_path):
    assert graft(tmp_path / "nowhere", load_task(PROBLEM), RECIPES["golden-30"], EPOCHS, tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_a_keeper_wants_a_rule_that_remembers(tmp_path):
    control = Control(tmp_path, callbacks=[Keeper(tmp_path, 2, [])])
    with pytest.raises(TypeError, match="Watching"):
        train(load_task(PROBLEM), RECIPES["golden-30"], 2, control)
