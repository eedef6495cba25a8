from __future__ import annotations

import pytest

from homestretch.paper.settings import RECIPES
from homestretch.paper.table.cells import PAPER_RECIPES, VISION_MODELS, Cell, Machine, cells, default_seeds, shares_adam

ALL = (["mnist", "cifar-10"], VISION_MODELS, PAPER_RECIPES)


def test_the_whole_table_has_the_seeds_that_were_promised():
    found = cells(*ALL, [], "tenth")
    assert len(found) == len(set(found)) == 2 * (4 * (7 * 3 + 2) + 9)
    assert {c.seed for c in found if c.model == "vgg5-max-relu"} == {0}
    assert {c.seed for c in found if c.recipe.startswith("cg-alone")} == {0}
    assert [c.seed for c in found] == sorted(c.seed for c in found)


def test_adam_is_always_run_and_run_first():
    found = cells(["mnist"], ["vit-mlp", "vit-nomlp"], ["golden-30"], [4], "tiny")
    assert [(c.model, c.recipe, c.seed) for c in found] == [
        (model, recipe, 4) for model in ("vit-mlp", "vit-nomlp") for recipe in ("adam", "golden-30")
    ]


def test_the_text_has_its_own_model():
    found = cells(["python-docs", "mnist"], VISION_MODELS, ["adam"], [0], "small")
    assert [(c.set, c.model) for c in found] == [("python-docs", "gpt-char"), *(("mnist", m) for m in VISION_MODELS)]
    assert found[0].problem(Machine()).batch == 32
    assert found[1].problem(Machine()).batch == 64


@pytest.mark.parametrize(
    ("model", "size", "epochs"), [("vit-mlp", "full", 700), ("vit-mlp", "tenth", 210), ("vgg5-max-relu", "full", 1000)]
)
def test_epochs_are_those_of_the_source(model, size, epochs):
    assert Cell("cifar-10", model, "adam", 0, size).epochs == epochs


def test_a_tenth_is_the_first_rows():
    problem = Cell("mnist", "vit-mlp", "adam", 2, "tenth").problem(Machine(device="cpu", micro_batch=0))
    assert (problem.train_limit, problem.validation_limit, problem.batch, problem.seed) == (6000, None, 512, 2)
    assert Cell("mnist", "vit-mlp", "adam", 2, "full").problem(Machine()).train_limit is None


def test_who_can_start_from_adams_epochs():
    assert {name for name, recipe in RECIPES.items() if not shares_adam(recipe)} == {
        "adam-cosine",
        "adamw-cosine",
        "cg-alone-fr",
        "cg-alone-pr",
    }


def test_seeds_by_default():
    assert default_seeds("vit-mlp", "adam") == (0, 1, 2)
    assert default_seeds("vit-mlp", "cg-alone-fr") == default_seeds("gpt-char", "adam") == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets": []}, "--sets must be"),
        ({"models": ["vit-mlp"] * 2}, "--models must be"),
        ({"recipes": []}, "--recipes must be"),
        ({"seeds": [-1]}, "--seeds must be"),
        ({"seeds": [2**63]}, "--seeds must be"),
        ({"models": ["gpt-char"]}, "no cell: gpt-char goes with --sets python-docs, got --sets mnist"),
        ({"models": ["vit-mlp", "gpt-char"]}, "no cell: gpt-char goes with --sets python-docs"),
        ({"models": ["gpt-char"], "sets": ["python-docs", "mnist"]}, "no cell of mnist, got --models gpt-char alone"),
    ],
)
def test_choices_that_make_no_sense(changes, message):
    given = {"sets": ["mnist"], "models": ["vit-mlp"], "recipes": ["adam"], "seeds": [0], **changes}
    with pytest.raises(ValueError, match=message):
        cells(**given, size="tiny")
