"""What each command does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

from rich.console import Console

from homestretch import report
from homestretch.cli import experiment
from homestretch.cli.main import Compare, Demo, PaperModels, Plot, Resume, Run, check_recipes, demo_problem
from homestretch.cli.progress import Live
from homestretch.cli.settings import Problem, Recipe, read
from homestretch.errors import CheckpointError
from homestretch.history import History
from homestretch.paper import model_table
from homestretch.report import Row
from homestretch.training import RECORD

RESULT = "result.json"


@singledispatch
def dispatch(command: object) -> None:
    """Carry out a command."""
    raise TypeError(f"no such command: {command!r}")


@dispatch.register
def _(command: Run) -> None:
    console = Console()
    row = _train(command.problem, command.recipe, command.budget, command.out, console)
    _show([row], command.out, console, f"{command.problem.data} / {command.problem.model}")


@dispatch.register
def _(command: Resume) -> None:
    console = Console()
    problem, recipe, budget = read(command.folder)
    row = _train(problem, recipe, budget, command.folder, console, resume=True)
    _show([row], command.folder, console, f"{problem.data} / {problem.model}")


@dispatch.register
def _(command: Compare) -> None:
    recipes = check_recipes(command.recipes)
    _compare(command.problem, recipes, command.budget, command.out, Console())


@dispatch.register
def _(command: Demo) -> None:
    console = Console()
    console.print(
        "Training the paper's vit-nomlp on 1,437 handwritten digits (8x8 pixels, each enlarged to 4x4) twice from the same\n"
        f"start, {command.budget:g} gradient-equivalents each: Adam alone, then Adam with a swap to conjugate gradients.",
        highlight=False,
    )
    recipes = [("Adam alone", check_recipes(["adam"])[0][1]), ("Adam then CG", check_recipes(["cg"])[0][1])]
    _compare(demo_problem(command.seed), recipes, command.budget, command.out, console)


@dispatch.register
def _(command: Plot) -> None:
    console = Console()
    folders = (
        [command.folder] if (command.folder / RECORD).exists() else sorted(p.parent for p in command.folder.glob(f"*/{RECORD}"))
    )
    if not folders:
        raise CheckpointError(f"there is no {RECORD} in {command.folder} or one level below it")
    histories = {folder.name: History.read(folder / RECORD) for folder in folders}
    for folder in folders:
        written = experiment.draw(histories[folder.name], folder)
        console.print(f"{len(written)} files in {folder / 'figures'}")
    if len(folders) > 1:
        report.save(report.loss_against_cost(histories), command.folder, "loss-against-cost")
        console.print(f"loss-against-cost of all runs in {command.folder}")


@dispatch.register
def _(command: PaperModels) -> None:
    rows = [(r.set, r.model, str(r.P), f"{r.Q:.1f}") for r in model_table()]
    heading = ("set", "model", "P", "Q")
    if command.format == "tsv":
        print("\n".join("\t".join(row) for row in (heading, *rows)))
    elif command.format == "markdown":
        print("\n".join("| " + " | ".join(row) + " |" for row in (heading, ("---", "---", "---:", "---:"), *rows)))
    else:
        from rich.table import Table

        table = Table(*heading, title="Parameters P and overdetermination ratio Q = K M / P")
        for row in rows:
            table.add_row(*row)
        Console().print(table)


def _train(
    problem: Problem, recipe: Recipe, budget: float, out: Path, console: Console, *, resume: bool = False, name: str = ""
) -> Row:
    with Live(name or out.name, console) as live:
        row, result = experiment.run(problem, recipe, budget, out, callbacks=[live], resume=resume, name=name)
    console.print(f"{row.recipe}: {result.stop}", highlight=False)
    (out / RESULT).write_text(json.dumps(experiment.row_as_dict(row), indent=2) + "\n", encoding="utf-8")
    return row


def _compare(problem: Problem, recipes: Sequence[tuple[str, Recipe]], budget: float, out: Path, console: Console) -> None:
    """Train by each recipe unless its folder holds the result of the same settings already."""
    rows, histories = [], {}
    for name, recipe in recipes:
        folder = out / name.replace(" ", "-").lower()
        rows.append(_finished(folder, problem, recipe, budget) or _train(problem, recipe, budget, folder, console, name=name))
        histories[name] = History.read(folder / RECORD)
    report.save(report.loss_against_cost(histories, f"{problem.data} / {problem.model}"), out, "loss-against-cost")
    _show(rows, out, console, f"{problem.data} / {problem.model}, {budget:g} gradient-equivalents each, seed {problem.seed}")


def _finished(folder: Path, problem: Problem, recipe: Recipe, budget: float) -> Row | None:
    if not (folder / RESULT).exists() or read(folder) != (problem, recipe, budget):
        return None
    return Row(**json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _show(rows: Sequence[Row], out: Path, console: Console, title: str) -> None:
    console.print(report.to_table(rows, title))
    (out / "summary.md").write_text(f"# {title}\n\n{report.to_markdown(rows)}", encoding="utf-8")
    console.print(
        f"Records (JSONL, Parquet), checkpoints, figures (PNG, PDF) and their data (CSV) are in {out}; the table is {out / 'summary.md'}.",
        highlight=False,
        soft_wrap=True,
    )
