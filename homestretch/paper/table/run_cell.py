"""Run one cell of the table, or what is missing of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from homestretch import checkpoint
from homestretch.errors import CheckpointError
from homestretch.history import EventRecord
from homestretch.paper.models import overdetermination, parameter_count
from homestretch.paper.settings import RECIPES
from homestretch.paper.table.cells import ADAM, Cell, Machine, shares_adam
from homestretch.paper.table.lock import locked
from homestretch.paper.table.outcome import Accounting, Outcome, read_outcomes, write_json, write_outcomes
from homestretch.paper.table.prefix import Keeper, Watching, graft
from homestretch.paper.task import Task, load_task
from homestretch.paper.train import Control, Trained, train
from homestretch.training import RECORD

__all__ = ["missing", "run_cell"]

_SAVE_EVERY = 30.0  # seconds of work that a kill may cost
_SETTINGS = "settings.json"


def wanted(cell: Cell, accountings: Sequence[Accounting]) -> list[Accounting]:
    """The accountings that a cell has: with one phase both are the same, and torch's L-BFGS has no epochs to count."""
    both = cell.plan.second not in ("none", "torch-lbfgs")
    return ["cost", *(a for a in accountings if a == "printed" and both)]


def missing(cell: Cell, out: Path, accountings: Sequence[Accounting]) -> list[Accounting]:
    """What is still to be run of a cell."""
    done = {outcome.accounting for outcome in read_outcomes(out / cell.path)}
    return [accounting for accounting in wanted(cell, accountings) if accounting not in done]


def run_cell(cell: Cell, machine: Machine, out: Path, accountings: Sequence[Accounting] = ("cost",)) -> list[Outcome]:
    """Run what is missing of a cell, from its last checkpoint where there is one.

    Args:
        cell: The cell.
        machine: Where to run it.
        out: Folder of the table.
        accountings: Where to measure: at equal cost always; as printed, the same run goes on until its epochs are made.

    Returns:
        The outcomes of the cell.

    Raises:
        CheckpointError: If the folder holds a run of other settings.
    """
    folder = out / cell.path
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _claim(cell, folder)
        outcomes = read_outcomes(folder)
        for accounting in missing(cell, out, accountings):
            task = load_task(cell.problem(machine))
            result = _train(cell, task, folder, out, accounting)
            outcomes.append(_outcome(cell, machine, accounting, task, result))
            write_outcomes(folder, outcomes)
    return outcomes


def _claim(cell: Cell, folder: Path) -> None:
    """Write down what decides the run, or see that it is the same."""
    place = folder / _SETTINGS
    problem: dict[str, Any] = asdict(cell.problem(Machine()))
    for name in ("data_dir", "device", "threads", "compile", "micro_batch"):
        del problem[name]
    settings = {"problem": problem, "recipe": asdict(cell.plan), "epochs": cell.epochs}
    if not place.exists():
        write_json(place, settings)
        return
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if known != settings:
        raise CheckpointError(f"{folder} holds a run of other settings: delete it, or give another --out")


def _train(cell: Cell, task: Task, folder: Path, out: Path, accounting: Accounting) -> Trained:
    begun = any((folder / name).exists() for name in (checkpoint.NAME, checkpoint.PREVIOUS))
    if not begun and cell.recipe != ADAM and shares_adam(cell.plan):
        begun = graft(out / cell.adam.path, task, cell.plan, cell.epochs, folder) > 0
    if not begun:
        (folder / RECORD).unlink(missing_ok=True)
    is_adam = cell.recipe == ADAM
    shares = [recipe.swap_at for recipe in RECIPES.values() if recipe.rule == "share"]
    keeper = Keeper(folder, cell.epochs, shares)
    control = Control(folder, resume=begun, save_every=_SAVE_EVERY, callbacks=[keeper] if is_adam else [])
    epochs = cell.epochs if accounting == "printed" else None
    return train(task, cell.plan, cell.epochs, control, epochs=epochs, rule=Watching() if is_adam else None)


def _outcome(cell: Cell, machine: Machine, accounting: Accounting, task: Task, result: Trained) -> Outcome:
    from homestretch import __version__

    measured = task.measure()
    parameters = parameter_count(task.model)
    events = result.history.of(EventRecord)
    return Outcome(
        set=cell.set,
        model=cell.model,
        recipe=cell.recipe,
        seed=cell.seed,
        size=cell.size,
        accounting=accounting,
        train_loss=measured["train_loss"],
        train_accuracy=measured["train_accuracy"],
        validation_loss=measured["validation_loss"],
        validation_accuracy=measured["validation_accuracy"],
        validation_top5=measured.get("validation_top5"),
        parameters=parameters,
        overdetermination=overdetermination(len(task.train[0]), task.outputs, parameters),
        budget=float(cell.epochs),
        gradient_equivalents=result.gradient_equivalents,
        evaluations=result.evaluations,
        seconds=result.seconds,
        epochs=result.epochs,
        swap_epoch=result.swap_epoch,
        returns=sum(event.name == "resort" for event in events),
        reason=result.swap_reason,
        stop=result.stop,
        device=_device_name(machine.device),
        version=f"homestretch {__version__}, torch {torch.__version__}",
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
