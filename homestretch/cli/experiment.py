"""One run from settings: data, model, recipe, outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from homestretch import report
from homestretch.cli.folder import FIGURES, begin
from homestretch.cli.settings import Plan, Recipe
from homestretch.descent import LBFGS, ConjugateGradient, Descent
from homestretch.history import EventRecord, History, IterationRecord
from homestretch.paper import ImageData, build_model, load_data, one_hot
from homestretch.report import Row
from homestretch.resort import MeasuredResort, NoResort
from homestretch.searches import GoldenSection
from homestretch.swap import AtEpoch, AtShare, BudgetAware, CurvePeak, GradientNormPeak, LiteralPeak, Never, SwapRule
from homestretch.training import Callback, FitResult, evaluate, fit

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


def make_rule(recipe: Recipe) -> SwapRule:
    """The swap rule that a recipe names."""
    if recipe.rule == "epoch":
        if recipe.swap_at != int(recipe.swap_at):
            raise ValueError(f"swap-at must be a whole number of epochs for --rule epoch, got {recipe.swap_at:g}")
        return AtEpoch(int(recipe.swap_at))
    if recipe.rule == "share":
        return AtShare(recipe.swap_at)
    simple: dict[str, Callable[[], SwapRule]] = {
        "guarded": GradientNormPeak,
        "literal": LiteralPeak,
        "curve": CurvePeak,
        "budget": BudgetAware,
        "never": Never,
    }
    return simple[recipe.rule]()


def run(plan: Plan, out: Path, name: str, *, callbacks: Sequence[Callback] = (), resume: bool = False) -> tuple[Row, str]:
    """Train by a plan until its budget is spent, with everything written into ``out``.

    Args:
        plan: What to do.
        out: Folder of the run.
        name: Name of the recipe, for the table.
        callbacks: Called after each epoch.
        resume: Go on from the checkpoint in ``out``; otherwise an earlier run there is replaced.

    Returns:
        The outcome, and why the run ended.
    """
    problem, recipe = plan.problem, plan.recipe
    _check(plan)
    if problem.threads:
        torch.set_num_threads(problem.threads)
    data = load_data(problem.data, problem.data_dir, problem.train_limit, problem.validation_limit)
    train, validation = _tensors(data, problem.device)
    model = build_model(problem.model, data.image_shape, data.classes, problem.outputs, seed=problem.seed).to(problem.device)
    rule = make_rule(recipe)
    if not resume:
        begin(out, plan)
    result = fit(
        model,
        mse_loss,
        train,
        budget=plan.budget,
        first=lambda p: _FIRST[recipe.first](p, lr=recipe.learning_rate),
        schedule=_schedule(recipe, plan.budget),
        second=None if recipe.second == "none" else _SECOND.get(recipe.second, "auto"),
        rule=rule,
        resort=MeasuredResort() if recipe.resort else NoResort(),
        gradient_norm=recipe.gradient_norm,
        validation=validation,
        metrics={"accuracy": accuracy},
        batch_size=problem.batch,
        micro_batch=problem.micro_batch,
        seed=problem.seed,
        out=out,
        resume=resume,
        callbacks=callbacks,
    )
    draw(result.history, out, f"{plan.title}: {name}")
    on_train, on_validation = (evaluate(model, mse_loss, part, {"accuracy": accuracy}) for part in (train, validation))
    return _row(name, result, on_train, on_validation), result.stop


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is at the target's class."""
    return (outputs.argmax(1) == targets.argmax(1)).float().mean()


def draw(history: History, folder: Path, title: str = "") -> list[Path]:
    """Draw the figures of one run into its folder; that of the line searches only where there were any."""
    drawings = {
        "gradient-norm-against-loss": report.gradient_norm_against_loss(history, title),
        "gradient-norm-by-epoch": report.gradient_norm_by_epoch(history, title),
        "loss-against-cost": report.loss_against_cost({folder.name: history}, title),
    }
    if history.of(IterationRecord):
        drawings["searches"] = report.search_effort(history, title)
    return [path for name, drawing in drawings.items() for path in report.save(drawing, folder / FIGURES, name)]


def _check(plan: Plan) -> None:
    """Refuse at the door what would only show after the data are loaded, or take an old run along."""
    problem, recipe = plan.problem, plan.recipe
    if not (plan.budget > 0.0 and math.isfinite(plan.budget)):
        raise ValueError(f"budget must be a positive number of gradient-equivalents, got {plan.budget}")
    for name, count, least in (
        ("batch", problem.batch, 1),
        ("micro-batch", problem.micro_batch, 1),
        ("threads", problem.threads, 0),
    ):
        if count < least:
            raise ValueError(f"{name} must be at least {least}, got {count}")
    if not (recipe.learning_rate > 0.0 and math.isfinite(recipe.learning_rate)):
        raise ValueError(f"learning-rate must be positive, got {recipe.learning_rate}")
    try:
        torch.empty(0, device=problem.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device {problem.device!r} cannot be used here ({reason}): give --device cpu, or another") from error


def _schedule(recipe: Recipe, budget: float) -> Callable[[Optimizer], LRScheduler] | None:
    if recipe.schedule == "constant":
        return None
    return lambda optimizer: CosineAnnealingLR(optimizer, max(int(budget), 1))


def _tensors(data: ImageData, device: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def pair(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.to(device), one_hot(labels, data.classes).to(device)

    return pair(data.train_inputs, data.train_targets), pair(data.validation_inputs, data.validation_targets)


def _row(name: str, result: FitResult, train: dict[str, float], validation: dict[str, float]) -> Row:
    reason = result.swap_reason
    for event in result.history.of(EventRecord):
        reason += f"; back to the first phase after epoch {event.epoch}: {event.message}" if event.name == "resort" else ""
    return Row(
        recipe=name,
        train_loss=train["loss"],
        train_accuracy=train["accuracy"],
        validation_loss=validation["loss"],
        validation_accuracy=validation["accuracy"],
        gradient_equivalents=result.gradient_equivalents,
        seconds=result.seconds,
        swap_epoch=result.swap_epoch,
        swap_reason=reason,
    )
