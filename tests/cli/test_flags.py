from __future__ import annotations

from dataclasses import fields

import pytest

from homestretch.cli.flags import Method, Run
from homestretch.paper.settings import Recipe


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
        (Method(second="none", resort=False), Recipe(second="none", resort=False)),
    ],
)
def test_flags_come_to_a_recipe(given, recipe):
    assert given.recipe() == recipe


@pytest.mark.parametrize("rule", ["paced", "guarded", "literal", "curve", "budget", "start", "never"])
def test_a_moment_that_no_rule_looks_at_is_refused(rule):
    with pytest.raises(ValueError, match=f"swap-at goes with --rule epoch or share only, got --rule {rule}"):
        Method(rule=rule, swap_at=0.3).recipe()


@pytest.mark.parametrize("rule", ["epoch", "share"])
def test_a_moment_with_nothing_to_swap_to_is_refused(rule):
    with pytest.raises(ValueError, match=f"--rule {rule} with --second none has nothing to swap to"):
        Method(second="none", rule=rule, swap_at=1).recipe()
