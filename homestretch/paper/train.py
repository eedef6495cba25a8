"""Train by a recipe: the one driver of ``homestretch run``, ``compare`` and ``paper table``."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homestretch import checkpoint
from homestretch.history import EventRecord, History
from homestretch.objective.dataset import Objective
from homestretch.paper import methods
from homestretch.paper.alone import descend
from homestretch.paper.settings import Recipe
from homestretch.paper.task import Task
from homestretch.swap import Never, SwapRule
from homestretch.training import RECORD, Callback, FitResult, fit

__all__ = ["Control", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """How a run ended; the model is left at its end.

    Attributes:
        epochs: Epochs made; in the convex phase one is one iteration.
        swap_epoch: The epoch after which the convex phase began, ``None`` if it did not.
        swap_reason: Why then.
        stop: Why the run ended.
        gradient_equivalents: Counted cost.
        evaluations: Evaluations of the loss, each of whatever part of the data.
        seconds: Wall time.
        history: All records.
    """

    epochs: int
    swap_epoch: int | None
    swap_reason: str
    stop: str
    gradient_equivalents: float
    evaluations: int
    seconds: float
    history: History


@dataclass(frozen=True)
class Control:
    """What steers a run without changing its course.

    Attributes:
        out: Folder for records and checkpoints.
        resume: Go on from the checkpoint there.
        save_every: Seconds between checkpoints.
        validate: Whether loss and metrics over the validation data go into every epoch's record.
        callbacks: Called after each epoch.
    """

    out: Path
    resume: bool = False
    save_every: float = 0.0
    validate: bool = False
    callbacks: Sequence[Callback] = ()


def train(
    task: Task, recipe: Recipe, budget: float, control: Control, *, epochs: int | None = None, rule: SwapRule | None = None
) -> Trained:
    """Train ``task.model`` by a recipe.

    Args:
        task: What is trained.
        recipe: How.
        budget: Planned cost in gradient-equivalents: the length of the schedule, what shares are taken of, and where the
            run ends. A convex phase may overspend by one line search.
        control: Where records go, and more.
        epochs: End after so many epochs instead, whatever they cost: the paper's accounting, in which an iteration of the
            convex phase is an epoch. It has to be the number in ``budget``, so that a run that ended by its budget can go on.
        rule: The swap rule, in place of the recipe's.

    Raises:
        ValueError: If the recipe or a number is out of range.
        CheckpointError: If a resumed run finds no checkpoint, or a damaged one.
    """
    if epochs is not None and epochs != budget:
        raise ValueError(f"epochs must be the number in budget, {budget:g}, got {epochs}")
    if not methods.runs_alone(recipe):
        ends = {"budget": float(budget)} if epochs is None else {"epochs": epochs}
        options = {"rule": rule or methods.make_rule(recipe), "second": methods.make_second(recipe), **ends}
        if rule is not None and options["second"] is None:
            options["second"] = "auto"  # a rule that only watches is kept; fit would replace it
        return _told(_fit(task, recipe, budget, control, **options))
    if recipe.rule == "start":
        return _without_first(task, recipe, math.inf if epochs else float(budget), epochs, control)
    return _after_first(task, recipe, budget, control)


def _fit(task: Task, recipe: Recipe, planned: float, control: Control, **options: Any) -> FitResult:
    return fit(
        task.model,
        task.loss,
        task.train,
        first=methods.make_first(recipe),
        schedule=methods.make_schedule(recipe, planned),
        resort=methods.make_resort(recipe),
        gradient_norm=recipe.gradient_norm,
        validation=task.validation if control.validate else None,
        metrics=task.metrics if control.validate else None,
        batch_size=task.batch,
        micro_batch=task.micro_batch,
        seed=task.seed,
        out=control.out,
        resume=control.resume,
        save_every=control.save_every,
        callbacks=control.callbacks,
        **options,
    )


def _without_first(task: Task, recipe: Recipe, budget: float, epochs: int | None, control: Control) -> Trained:
    """A method of the convex phase from the initial parameters on."""
    objective = task.objective()
    optimizer = methods.make_alone(recipe)(objective.parameters)
    record = control.out / RECORD
    done, history = 0, History() if control.resume else History(record)
    if control.resume:
        content = checkpoint.load(control.out)
        task.model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        objective.meter.load_state_dict(content["meter"])
        history = History.read(record)
        history.rewind(int(content["records"]))
        history.continue_at(record)
        done = int(content["epochs"])
    reason = "there is no first phase: it begins with the convex phase"
    if not done:
        history.append(EventRecord(epoch=0, name="swap", message=reason))
    saved = time.monotonic()

    def save(epoch: int, *, now: bool = False) -> None:
        nonlocal saved
        if now or time.monotonic() - saved >= control.save_every:
            state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epoch}
            checkpoint.save(control.out, {**state, "meter": objective.meter.state_dict(), "records": len(history)})
            saved = time.monotonic()

    made, stop = descend(
        objective, optimizer, history, budget=budget, epochs=epochs, done=done, save=save, callbacks=control.callbacks
    )
    save(made, now=True)
    return _ended(objective, history, made, 0, reason, stop)


def _after_first(task: Task, recipe: Recipe, budget: float, control: Control) -> Trained:
    """Torch's L-BFGS after the first phase's share of the budget. Killed in its second part, it repeats that part."""
    share = methods.make_rule(recipe)
    first = _fit(task, recipe, budget, control, rule=Never(), second=None, budget=recipe.swap_at * budget)
    history = first.history
    history.rewind(len(history) - 1)  # fit's own end is none of this run
    objective = task.objective()
    objective.meter.load_state_dict(first.optimizer.meter.state_dict())
    optimizer = methods.make_alone(recipe)(objective.parameters)
    reason = f"{share.name}: the swap is set at {recipe.swap_at:.1%} of the budget; method: torch's L-BFGS, nothing taken over"
    history.append(EventRecord(epoch=first.epochs, name="swap", message=reason))
    made, stop = descend(objective, optimizer, history, budget=float(budget), done=first.epochs, callbacks=control.callbacks)
    return _ended(objective, history, made, first.epochs, reason, stop)


def _ended(objective: Objective, history: History, epochs: int, swap: int, reason: str, stop: str) -> Trained:
    history.append(EventRecord(epoch=epochs, name="stop", message=stop))
    meter = objective.meter
    cost = meter.gradient_equivalents
    return Trained(epochs, swap, reason, stop, cost, meter.evaluations, meter.seconds, history)


def _told(result: FitResult) -> Trained:
    """What fit() returned, with the returns to the first phase among the reasons."""
    reason = result.swap_reason
    for event in result.history.of(EventRecord):
        reason += f"; back to the first phase after epoch {event.epoch}: {event.message}" if event.name == "resort" else ""
    meter = result.optimizer.meter
    return Trained(
        epochs=result.epochs,
        swap_epoch=result.swap_epoch,
        swap_reason=reason,
        stop=result.stop,
        gradient_equivalents=result.gradient_equivalents,
        evaluations=meter.evaluations,
        seconds=result.seconds,
        history=result.history,
    )
