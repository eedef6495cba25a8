from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from homestretch import checkpoint
from homestretch.cli import folder
from homestretch.errors import CheckpointError
from homestretch.paper.settings import RECIPES, Plan, Problem, Recipe
from homestretch.report import Row

PLAN = Plan(Problem(data_dir=Path("some/folder"), train_limit=7), RECIPES["golden-30"], 40.0)
ROW = Row("cg", 1e-3, 0.5, float("nan"), 0.25, 40.0, 1.5, 3, "because")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_plan_is_read_back(tmp_path, recipe):
    plan = replace(PLAN, recipe=recipe)
    folder.begin(tmp_path / "run", plan)
    assert folder.read_plan(tmp_path / "run") == plan


@pytest.mark.parametrize("epoch", [None, 3])
def test_a_result_is_read_back(tmp_path, epoch):
    row = replace(ROW, swap_epoch=epoch, validation_loss=0.5)
    folder.write_result(tmp_path, row)
    assert folder.read_result(tmp_path) == row


def test_a_result_that_is_not_finite_is_read_back(tmp_path):
    folder.write_result(tmp_path, ROW)
    assert repr(folder.read_result(tmp_path)) == repr(ROW)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("recipe", {"second": "magic"}, "second must be one of"),
        ("recipe", {"learning_rate": "fast"}, "learning_rate must be of type float"),
        ("recipe", {"learning_rate": float("nan")}, "learning_rate must be finite"),
        ("problem", {"batch": 1.5}, "batch must be of type int"),
        ("problem", {"batch": True}, "batch must be of type int"),
        ("problem", {"novelty": 1}, "novelty"),
    ],
)
def test_damaged_settings_are_refused_with_the_place(tmp_path, part, changes, message):
    folder.begin(tmp_path, PLAN)
    place = tmp_path / folder.SETTINGS
    content = json.loads(place.read_text())
    content[part].update(changes)
    place.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message) as raised:
        folder.read_plan(tmp_path)
    assert str(place) in str(raised.value)
    assert folder.state_of(tmp_path, PLAN) == "other"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"problem": 1, "recipe": {}, "budget": 1}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / folder.SETTINGS).write_text(text)
    (tmp_path / folder.RESULT).write_text(text)
    with pytest.raises(CheckpointError, match="does not hold the settings"):
        folder.read_plan(tmp_path)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        folder.read_result(tmp_path)


def test_the_folder_of_a_comparison_is_told_from_a_foreign_one(tmp_path):
    for name in ("auto", "adam"):
        folder.begin(tmp_path / name, PLAN)
    with pytest.raises(CheckpointError, match=r"holds the folders of several runs \(adam, auto\): name one of them"):
        folder.read_plan(tmp_path)


def test_the_states_of_a_run(tmp_path):
    other = replace(PLAN, budget=41.0)
    assert folder.state_of(tmp_path / "nowhere", PLAN) == "new"
    folder.begin(tmp_path, PLAN)
    assert folder.state_of(tmp_path, PLAN) == folder.state_of(tmp_path, other) == "new"
    (tmp_path / "checkpoint.previous.pt").write_bytes(b"")
    assert (folder.state_of(tmp_path, PLAN), folder.state_of(tmp_path, other)) == ("unfinished", "other")
    folder.write_result(tmp_path, ROW)
    assert (folder.state_of(tmp_path, PLAN), folder.state_of(tmp_path, other)) == ("finished", "other")


def test_beginning_anew_leaves_what_is_not_ours(tmp_path):
    folder.write_result(tmp_path, ROW)
    for name in ("checkpoint.pt", "epoch.parquet", "notes.txt"):
        (tmp_path / name).write_text("x")
    folder.begin(tmp_path, PLAN)
    assert {p.name for p in tmp_path.iterdir()} == {"settings.json", "notes.txt"}


def test_recipes_hold_what_their_names_say():
    assert RECIPES["golden-30"] == Recipe(second="golden-pr", rule="share", swap_at=0.3, resort=False)
    assert RECIPES["golden-rule"].rule == "literal"
    assert all(RECIPES[name].second == "none" for name in ("adam", "adam-cosine", "adamw-cosine"))
    assert RECIPES["auto"] == Recipe()


def test_a_budget_is_raised(tmp_path):
    folder.begin(tmp_path, PLAN)
    folder.write_result(tmp_path, ROW)
    with folder.raised_budget(tmp_path, PLAN, 60.0) as larger:
        assert larger == replace(PLAN, budget=60.0) == folder.read_plan(tmp_path)
    assert folder.read_plan(tmp_path) == larger
    assert not (tmp_path / folder.RESULT).exists()


@pytest.mark.parametrize("goes_on", [False, True], ids=["at once", "after an epoch"])
def test_a_raised_budget_is_taken_back_where_nothing_came_of_it(tmp_path, goes_on):
    folder.begin(tmp_path, PLAN)
    folder.write_result(tmp_path, ROW)
    checkpoint.save(tmp_path, {"records": 0})
    with pytest.raises(CheckpointError, match="torn"), folder.raised_budget(tmp_path, PLAN, 60.0):
        if goes_on:
            checkpoint.save(tmp_path, {"records": 0})
        raise CheckpointError("torn")
    assert folder.read_plan(tmp_path).budget == (60.0 if goes_on else 40.0)
    assert (tmp_path / folder.RESULT).exists() != goes_on


@pytest.mark.parametrize(
    ("recipe", "budget", "message"),
    [
        ("golden-30", 40.0, "must be more than 40"),
        ("golden-30", float("inf"), "inf"),
        ("adam-cosine", 60.0, "cosine schedule"),
    ],
)
def test_a_budget_is_not_lowered_nor_raised_past_a_schedule(tmp_path, recipe, budget, message):
    plan = replace(PLAN, recipe=RECIPES[recipe])
    folder.begin(tmp_path, plan)
    with pytest.raises(ValueError, match=message), folder.raised_budget(tmp_path, plan, budget):
        pass
    assert folder.read_plan(tmp_path) == plan


def test_a_folder_with_a_run_of_the_library_is_another(tmp_path):
    checkpoint.save(tmp_path, {"records": 0})
    assert folder.state_of(tmp_path, PLAN) == "other"
