"""From a recipe's plain data to what it names: optimizers, schedules, methods of the convex phase, swap rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from homestretch.descent import LBFGS, ConjugateGradient, Descent
from homestretch.paper.settings import Recipe
from homestretch.resort import MeasuredResort, NoResort, Resort
from homestretch.searches import GoldenSection
from homestretch.swap import AtEpoch, AtShare, BudgetAware, CurvePeak, GradientNormPeak, LiteralPeak, Never, PacedPeak, SwapRule

__all__ = [
    "Golden",
    "PlainCG",
    "check",
    "make_alone",
    "make_first",
    "make_resort",
    "make_rule",
    "make_schedule",
    "make_second",
    "make_torch_lbfgs",
    "runs_alone",
]

_FIRST: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


class Golden(ConjugateGradient):
    """Conjugate gradients as in the paper: golden sections, nothing taken over from Adam."""

    def __init__(self, params: Any, beta: str) -> None:
        super().__init__(params, beta, GoldenSection())

    def adopt(self, first: Optimizer) -> str:
        """Take nothing over."""
        return "nothing is taken over, as in the paper"


class PlainCG(ConjugateGradient):
    """Conjugate gradients without a preconditioner."""

    def adopt(self, first: Optimizer) -> str:
        """Take nothing over."""
        return "no preconditioner"


_SECOND: dict[str, Callable[[list[Tensor]], Descent]] = {
    "cg": PlainCG,
    "cg-adam": ConjugateGradient,
    "golden-fr": lambda p: Golden(p, "fletcher-reeves"),
    "golden-pr": lambda p: Golden(p, "polak-ribiere"),
    "lbfgs": LBFGS,
}


def make_first(recipe: Recipe) -> Callable[[list[Tensor]], Optimizer]:
    """What makes the first phase's optimizer over a list of parameters."""
    return lambda parameters: _FIRST[recipe.first](parameters, lr=recipe.learning_rate)


def make_schedule(recipe: Recipe, budget: float) -> Callable[[Optimizer], LRScheduler] | None:
    """What makes the learning-rate schedule over ``budget`` epochs; ``None`` for a constant rate."""
    if recipe.schedule == "constant":
        return None
    return lambda optimizer: CosineAnnealingLR(optimizer, max(int(budget), 1))


def make_second(recipe: Recipe) -> Any:
    """The convex phase, as :func:`~homestretch.training.fit` takes it."""
    return None if recipe.second == "none" else _SECOND.get(recipe.second, "auto")


def make_resort(recipe: Recipe) -> Resort:
    """When to go back to the first phase."""
    return MeasuredResort() if recipe.resort else NoResort()


def make_rule(recipe: Recipe) -> SwapRule:
    """The swap rule that a recipe names.

    Raises:
        ValueError: If ``swap_at`` is out of the rule's range.
    """
    at = recipe.swap_at
    if recipe.rule == "epoch":
        if not (at >= 1.0 and float(at).is_integer()):
            raise ValueError(
                f"--swap-at must be a whole number of epochs with --rule epoch, got {at:g}: give 1, 2, ..., or --rule start to "
                "begin with the convex phase"
            )
        return AtEpoch(int(at))
    if recipe.rule == "share":
        if not 0.0 < at <= 1.0:
            raise ValueError(
                f"--swap-at must be a share of the budget with --rule share, above 0 and at most 1, got {at:g}: "
                "give 0.3 for 30 %, or --rule epoch for a number of epochs"
            )
        return AtShare(at)
    simple: dict[str, Callable[[], SwapRule]] = {
        "paced": PacedPeak,
        "guarded": GradientNormPeak,
        "literal": LiteralPeak,
        "curve": CurvePeak,
        "budget": BudgetAware,
        "never": Never,
    }
    return simple[recipe.rule]()


def make_torch_lbfgs(parameters: list[Tensor]) -> torch.optim.LBFGS:
    """Torch's L-BFGS as a peer: strong Wolfe search, its history of 100, and no tolerance that would stop it early."""
    return torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0)


def make_alone(recipe: Recipe) -> Callable[[list[Tensor]], Optimizer]:
    """What makes the method of a recipe whose convex phase runs by itself, on the whole objective.

    Raises:
        ValueError: If the recipe leaves the method open.
    """
    if recipe.second == "torch-lbfgs":
        return make_torch_lbfgs
    if recipe.second not in _SECOND:
        raise ValueError(f"--rule start needs a method of the convex phase by name, got --second {recipe.second}")
    return _SECOND[recipe.second]


def runs_alone(recipe: Recipe) -> bool:
    """Whether the convex phase is not one of :class:`~homestretch.two_phase.TwoPhase`'s: torch's L-BFGS, or no first phase."""
    return recipe.second == "torch-lbfgs" or recipe.rule == "start"


def check(recipe: Recipe) -> None:
    """Refuse a recipe that does not go together.

    Raises:
        ValueError: With the flag to change.
    """
    if recipe.second == "torch-lbfgs" and recipe.rule not in ("share", "start"):
        raise ValueError(f"--second torch-lbfgs goes with --rule share or start, got --rule {recipe.rule}")
    if recipe.rule == "start":
        make_alone(recipe)
    else:
        make_rule(recipe)
