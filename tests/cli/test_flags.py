from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from homestretch.cli.flags import Method, Run, check_effects
from homestretch.cli.paper_flags import check_data_dir
from homestretch.paper.settings import Problem, Recipe


def test_the_flags_are_those_of_a_recipe():
    assert {f.name for f in fields(Method)} == {f.name for f in fields(Recipe)}
    assert Run().method.recipe() == Recipe()


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        (Method(rule="share"), Recipe(rule="share", swap_at=0.3)),
        (Method(rule="share", swap_at=0.5), Recipe(rule="share", swap_at=0.5)),
        (Method(rule="epoch", swap_at=4), Recipe(rule="epoch", swap_at=4)),
        (Method(rule="epoch", swap_at=0), Recipe(rule="epoch", swap_at=0)),
        (Method(rule="share", second="torch-lbfgs", swap_at=0.2), Recipe(rule="share", second="torch-lbfgs", swap_at=0.2)),
        (Method(second="none"), Recipe(second="none")),
        (Method(rule="never", resort=False), Recipe(rule="never", resort=False)),
    ],
)
def test_flags_come_to_a_recipe(given, recipe):
    assert given.recipe() == recipe


@pytest.mark.parametrize("rule", ["paced", "guarded", "literal", "curve", "budget", "start", "never"])
def test_a_moment_that_no_rule_looks_at_is_refused(rule):
    with pytest.raises(ValueError, match=f"--swap-at goes with --rule epoch or share only, got --rule {rule}"):
        Method(rule=rule, swap_at=0.3).recipe()


@pytest.mark.parametrize("rule", ["epoch", "share"])
def test_a_moment_with_nothing_to_swap_to_is_refused(rule):
    with pytest.raises(ValueError, match=f"--rule {rule} with --second none has nothing to swap to"):
        Method(second="none", rule=rule, swap_at=1).recipe()


def test_a_resort_without_a_swap_is_refused():
    with pytest.raises(ValueError, match="--no-resort has no effect with --second none"):
        Method(second="none", resort=False).recipe()


@pytest.mark.parametrize(
    "problem",
    [
        Problem(outputs="linear"),
        Problem(data="mnist", data_dir=Path("images")),
        Problem(data="python-docs", model="gpt-char"),
    ],
)
def test_what_has_an_effect_passes(problem):
    check_effects(problem)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem(data_dir=Path("images")), "--data-dir images has no effect, as digits come with what is installed"),
        (Problem(data="python-docs", model="gpt-char", data_dir=Path("images")), "--data-dir images has no effect"),
        (Problem(data="python-docs", model="gpt-char", outputs="linear"), "--outputs linear has no effect on --model gpt-char"),
    ],
)
def test_what_has_no_effect_on_a_problem_is_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        check_effects(problem)


def test_a_folder_of_images_is_for_any_of_several_sets():
    check_data_dir(Path("images"), ["digits", "mnist"])
    with pytest.raises(ValueError, match="digits and python-docs come with what is installed"):
        check_data_dir(Path("images"), ["digits", "python-docs"])
