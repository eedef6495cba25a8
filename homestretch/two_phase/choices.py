"""What a TwoPhase may be made with, checked at the door."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from homestretch.descent.intake import check_parameter
from homestretch.objective import AnyObjective, LeastSquares
from homestretch.resort import Race, Resort
from homestretch.swap import SwapRule
from homestretch.two_phase.gradient_norm import KINDS

DECAY_CHOICES = ("ignore", "penalty")


def check_policies(rule: SwapRule | None, resort: Resort | None) -> None:
    """Refuse what is no rule or no policy, before an epoch has been made."""
    if rule is not None and not isinstance(rule, SwapRule):
        raise TypeError(
            f"rule must be a swap rule such as AtEpoch(30), got {rule!r}; wrap a function in homestretch.swap.Custom"
        )
    if resort is not None and not isinstance(resort, Resort):
        raise TypeError(f"resort must be a policy such as MeasuredResort() or NoResort(), got {resort!r}")


def check_budget(rule: SwapRule, budget: float | None) -> None:
    """Refuse a rule that the end of the first epoch would refuse.

    Raises:
        ValueError: If it needs a budget and none is known.
    """
    if rule.needs_budget and budget is None:
        raise ValueError(
            f"rule: {rule.name} needs a budget, and none is known: give TwoPhase budget=..., the planned cost of the run in "
            "gradient-equivalents (an epoch of mini-batches is one), or a rule that needs none"
        )


def check_first(first: Optimizer) -> None:
    """Refuse a first optimizer whose run could not be gone on with, before an epoch has been made.

    Raises:
        TypeError: If it is not an optimizer.
        ValueError: If it maximises, or its parameters are complex or shorter than float32.
    """
    if not isinstance(first, Optimizer):
        given = f"the class {first.__name__}" if isinstance(first, type) else repr(first)
        raise TypeError(f"first must be an optimizer, such as Adam(model.parameters()), got {given}")
    for group in first.param_groups:
        if group.get("maximize"):
            raise ValueError("first maximises, and both phases must minimise the same function: negate the loss instead")
        for p in group["params"]:
            if p.requires_grad:
                check_parameter(p)


def check_choices(
    objective: AnyObjective | None,
    gradient_norm: str,
    resort: Resort | None,
    decoupled_decay: str,
    metrics: Any,
    *,
    promote: bool,
) -> None:
    """Refuse choices that are unknown, or that need an objective where there is none."""
    if gradient_norm not in KINDS:
        raise ValueError(f"gradient_norm must be one of {KINDS}, got {gradient_norm!r}")
    if gradient_norm != "running-mean" and objective is None:
        raise ValueError(f"gradient_norm={gradient_norm!r} needs an objective to evaluate")
    if gradient_norm == "probe" and isinstance(objective, LeastSquares):
        raise ValueError("gradient_norm='probe' needs samples, and LeastSquares has no subsets: use gradient_norm='exact'")
    if isinstance(resort, Race) and objective is None:
        raise ValueError("resort: a Race runs both phases by itself and needs an objective for it; use MeasuredResort")
    if decoupled_decay not in DECAY_CHOICES:
        raise ValueError(f"decoupled_decay must be one of {DECAY_CHOICES}, got {decoupled_decay!r}")
    if metrics is not None and not callable(metrics):
        raise TypeError(f"metrics must be a function that returns numbers by name, got {type(metrics).__name__}")
    if promote and objective is None:
        raise ValueError("promote needs an objective, whose data can be cast; with plain closures cast model and data yourself")
