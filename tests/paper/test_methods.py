from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from homestretch.descent import Descent
from homestretch.paper import methods
from homestretch.paper.settings import RECIPES, Recipe
from homestretch.resort import MeasuredResort, NoResort
from homestretch.searches import GoldenSection


def parameters():
    return [torch.nn.Parameter(torch.zeros(3))]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_can_be_made(recipe):
    methods.check(recipe)
    first = methods.make_first(recipe)(parameters())
    assert first.param_groups[0]["lr"] == recipe.learning_rate
    schedule = methods.make_schedule(recipe, 10)
    assert (schedule is None) == (recipe.schedule == "constant")
    assert schedule is None or isinstance(schedule(first), CosineAnnealingLR)
    assert isinstance(methods.make_resort(recipe), MeasuredResort if recipe.resort else NoResort)
    if methods.runs_alone(recipe):
        assert isinstance(methods.make_alone(recipe)(parameters()), torch.optim.Optimizer)
    else:
        second = methods.make_second(recipe)
        assert second in (None, "auto") or isinstance(second(parameters()), Descent)


def test_the_papers_method_takes_nothing_over():
    descent = methods.make_second(RECIPES["golden-30"])(parameters())
    assert isinstance(descent.search, GoldenSection)
    assert "nothing" in descent.adopt(torch.optim.Adam(parameters()))


def test_torchs_lbfgs_never_stops_by_itself():
    (group,) = methods.make_torch_lbfgs(parameters()).param_groups
    assert (group["line_search_fn"], group["tolerance_grad"], group["tolerance_change"]) == ("strong_wolfe", 0.0, 0.0)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(second="torch-lbfgs", rule="guarded"), "torch-lbfgs"),
        (Recipe(second="auto", rule="start"), "by name"),
        (Recipe(rule="epoch", swap_at=1.5), "whole number"),
        (Recipe(rule="epoch", swap_at=float("nan")), "whole number"),
        (Recipe(rule="epoch", swap_at=float("inf")), "whole number"),
        (Recipe(rule="epoch", swap_at=-1.0), "--swap-at must be a whole number of epochs with --rule epoch, got -1"),
        (Recipe(rule="epoch", swap_at=0.0), "got 0: give 1, 2, ..., or --rule start"),
        (Recipe(rule="share", swap_at=3.0), "--swap-at must be a share of the budget with --rule share.* got 3"),
        (Recipe(rule="share", swap_at=float("nan")), "--swap-at must be a share"),
    ],
)
def test_recipes_that_do_not_go_together(recipe, message):
    with pytest.raises(ValueError, match=message):
        methods.check(recipe)
