"""One run from settings: data, model, recipe, outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from homestretch import report
from homestretch.cli.settings import Problem, Recipe, write
from homestretch.descent import LBFGS, ConjugateGradient, Descent
from homestretch.history import EventRecord, History
from homestretch.paper import ImageData, build_model, load_data, one_hot
from homestretch.report import Row
from homestretch.resort import MeasuredResort, NoResort, Resort
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


def run(
    problem: Problem,
    recipe: Recipe,
    budget: float,
    out: Path,
    *,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    name: str = "",
) -> tuple[Row, FitResult]:
    """Train by a recipe until ``budget`` gradient-equivalents are spent, with everything written into ``out``."""
    if problem.threads:
        torch.set_num_threads(problem.threads)
    data = load_data(problem.data, problem.data_dir, problem.train_limit, problem.validation_limit)
    train, validation = _tensors(data, problem.device)
    model = build_model(
        problem.model, image_shape=data.image_shape, classes=data.classes, outputs=problem.outputs, seed=problem.seed
    ).to(problem.device)
    if not resume:
        write(out, problem, recipe, budget)
    resort: Resort = MeasuredResort() if recipe.resort else NoResort()
    result = fit(
        model,
        mse_loss,
        train,
        budget=budget,
        first=lambda p: _FIRST[recipe.first](p, lr=recipe.learning_rate),
        schedule=_schedule(recipe, budget),
        second=None if recipe.second == "none" else _SECOND.get(recipe.second, "auto"),
        rule=make_rule(recipe),
        resort=resort,
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
    row = _row(name or out.name, result, evaluate(model, mse_loss, train, {"accuracy": accuracy}),
               evaluate(model, mse_loss, validation, {"accuracy": accuracy}))  # fmt: skip
    draw(result.history, out, f"{problem.data} / {problem.model}")
    return row, result


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is at the target's class."""
    return (outputs.argmax(1) == targets.argmax(1)).double().mean()


def draw(history: History, folder: Path, title: str = "") -> list[Path]:
    """Draw all figures of one run into ``folder/figures``."""
    drawings = {
        "gradient-norm-against-loss": report.gradient_norm_against_loss(history, title),
        "gradient-norm-by-epoch": report.gradient_norm_by_epoch(history, title),
        "loss-against-cost": report.loss_against_cost({folder.name: history}, title),
        "searches": report.search_effort(history, title),
    }
    return [path for name, drawing in drawings.items() for path in report.save(drawing, folder / "figures", name)]


def _schedule(recipe: Recipe, budget: float) -> Callable[[Optimizer], LRScheduler] | None:
    if recipe.schedule == "constant":
        return None
    return lambda optimizer: CosineAnnealingLR(optimizer, max(int(budget), 1))


def _tensors(data: ImageData, device: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def pair(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.to(device), one_hot(labels, data.classes).to(device)

    return pair(data.train_inputs, data.train_targets), pair(data.validation_inputs, data.validation_targets)


def _row(name: str, result: FitResult, train: dict[str, float], validation: dict[str, float]) -> Row:
    swap = "none" if result.swap_epoch is None else f"epoch {result.swap_epoch}: {result.swap_reason}"
    for event in result.history.of(EventRecord):
        swap += f"; back to the first phase after epoch {event.epoch}: {event.message}" if event.name == "resort" else ""
    return Row(
        recipe=name,
        train_loss=train["loss"],
        train_accuracy=train["accuracy"],
        validation_loss=validation["loss"],
        validation_accuracy=validation["accuracy"],
        gradient_equivalents=result.gradient_equivalents,
        seconds=result.seconds,
        swap=swap,
    )


def row_as_dict(row: Row) -> dict[str, Any]:
    """A row as plain types."""
    return asdict(row)
