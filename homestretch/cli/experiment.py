"""One run from settings: data, model, recipe, outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from homestretch import report
from homestretch.cli.folder import FIGURES, begin
from homestretch.history import History, IterationRecord
from homestretch.paper import methods
from homestretch.paper.settings import Plan
from homestretch.paper.task import check, load_task
from homestretch.paper.train import Control, train
from homestretch.report import Row
from homestretch.training import Callback


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
    check_plan(plan)
    task = load_task(plan.problem)
    if not resume:
        begin(out, plan)
    control = Control(out, resume=resume, validate=True, callbacks=callbacks)
    result = train(task, plan.recipe, plan.budget, control)
    draw(result.history, out, f"{plan.title}: {name}")
    measured = task.measure()
    row = Row(
        recipe=name,
        train_loss=measured["train_loss"],
        train_accuracy=measured["train_accuracy"],
        validation_loss=measured["validation_loss"],
        validation_accuracy=measured["validation_accuracy"],
        gradient_equivalents=result.gradient_equivalents,
        seconds=result.seconds,
        swap_epoch=result.swap_epoch,
        swap_reason=result.swap_reason,
    )
    return row, result.stop


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


def check_plan(plan: Plan) -> None:
    """Refuse at the door what would only show after the data are loaded, or take an old run along.

    Raises:
        ValueError: With the flag to change.
    """
    if not (plan.budget > 0.0 and math.isfinite(plan.budget)):
        raise ValueError(f"--budget must be a positive number of gradient-equivalents, got {plan.budget}: give 100, say")
    if not (plan.recipe.learning_rate > 0.0 and math.isfinite(plan.recipe.learning_rate)):
        raise ValueError(f"--learning-rate must be positive and finite, got {plan.recipe.learning_rate}: give 1e-3, say")
    check(plan.problem)
    methods.check(plan.recipe)
