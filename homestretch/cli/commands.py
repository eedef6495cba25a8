"""What each command does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import singledispatch
from pathlib import Path

from rich.console import Console

from homestretch import report
from homestretch.cli import experiment, folder, paper
from homestretch.cli.flags import Compare, Demo, Paper, Plot, Resume, Run, check_effects, recipes_of
from homestretch.cli.progress import Live
from homestretch.errors import CheckpointError
from homestretch.history import History
from homestretch.paper.settings import RECIPES, Named, Plan, Problem
from homestretch.report import Row
from homestretch.training import RECORD

ALL_LOSSES = "loss-against-cost"
_DEMO: dict[str, Named] = {"Adam alone": "adam", "Adam then CG": "cg-peak", "Adam then L-BFGS": "lbfgs-peak"}


@singledispatch
def dispatch(command: object) -> None:
    """Carry out a command."""
    raise TypeError(f"no such command: {command!r}")


@dispatch.register
def _(command: Run) -> None:
    plan = Plan(command.problem, command.method.recipe(), command.budget)
    check_effects(command.problem)
    folder.check_out(command.out)
    if folder.holds_comparison(command.out):
        raise ValueError(
            f"{command.out} holds several runs and their {folder.SUMMARY}, which would be lost: give another --out"
        )
    if not command.overwrite and folder.state_of(command.out, plan) != "new":
        raise ValueError(
            f"{command.out} holds a run already: go on with it by `homestretch resume {command.out}`, "
            "give another --out, or replace it with --overwrite"
        )
    console = Console()
    _show([_train(plan, command.out, console)], command.out, console, plan.title, _figures(command.out, [command.out]))


@dispatch.register
def _(command: Resume) -> None:
    console, place = Console(), command.folder
    plan = folder.read_plan(place)
    with folder.raised_budget(place, plan, command.budget) if command.budget is not None else nullcontext(plan) as planned:
        row = _train(planned, place, console, resume=True)
    _show([row], place, console, plan.title, _figures(place, [place]))


@dispatch.register
def _(command: Compare) -> None:
    plans = {name: Plan(command.problem, recipe, command.budget) for name, recipe in recipes_of(command.recipes).items()}
    check_effects(command.problem)
    states = _states(plans, command.out, command.overwrite)
    if foreign := [name for name, state in states.items() if state == "other"]:
        raise ValueError(
            f"{command.out} holds runs of other settings ({', '.join(foreign)}): give another --out, "
            "or replace them with --overwrite"
        )
    _compare(plans, states, command.out, Console())


@dispatch.register
def _(command: Demo) -> None:
    plans = {shown: Plan(demo_problem(command.seed), RECIPES[name], command.budget) for shown, name in _DEMO.items()}
    for plan in plans.values():
        experiment.check_plan(plan)
    states = _states(plans, command.out, command.overwrite)
    console = Console()
    console.print(
        "Training the paper's vit-nomlp on 1,437 handwritten digits (8x8 pixels, each enlarged to 4x4) from the same "
        f"start, {command.budget:g} gradient-equivalents each: {', '.join(_DEMO)}.",
        highlight=False,
    )
    _compare(plans, states, command.out, console)


@dispatch.register
def _(command: Plot) -> None:
    console = Console()
    single = (command.folder / RECORD).exists()
    runs = [command.folder] if single else sorted(p.parent for p in command.folder.glob(f"*/{RECORD}"))
    if not runs:
        raise CheckpointError(f"there is no {RECORD} in {command.folder} or one level below it")
    histories = {run.name: History.read(run / RECORD) for run in runs}
    for run in runs:
        written = experiment.draw(histories[run.name], run)
        console.print(f"{len(written)} files in {run / folder.FIGURES}", highlight=False, soft_wrap=True)
    if not single:
        report.save(report.loss_against_cost(histories), command.folder, ALL_LOSSES)
        console.print(f"the losses of all runs in {command.folder / ALL_LOSSES}.png", highlight=False, soft_wrap=True)


@dispatch.register
def _(command: Paper) -> None:
    paper.dispatch(command.what)


def demo_problem(seed: int) -> Problem:
    """The demo's problem: the digits, with the paper's mini-batch."""
    return replace(Problem(), seed=seed)


def _train(plan: Plan, out: Path, console: Console, *, resume: bool = False, name: str = "") -> Row:
    name = name or out.name
    with Live(name, console) as live:
        row, stop = experiment.run(plan, out, name, callbacks=[live], resume=resume)
    folder.write_result(out, row)
    console.print(f"{name}: {stop}", highlight=False, soft_wrap=True)
    return row


def _states(plans: dict[str, Plan], out: Path, overwrite: bool) -> dict[str, folder.State]:
    """How far each run is; as if new where it is to be overwritten.

    Raises:
        ValueError: If ``out`` can be no folder, or is that of a single run, whose summary would be lost; overwriting is meant
            for the runs below it.
    """
    folder.check_out(out)
    if folder.holds_run(out):
        raise ValueError(
            f"{out} holds a single run already: go on with it by `homestretch resume {out}`, or give another --out"
        )
    return {name: "new" if overwrite else folder.state_of(_place(out, name), plan) for name, plan in plans.items()}


def _compare(plans: dict[str, Plan], states: dict[str, folder.State], out: Path, console: Console) -> None:
    """Train by each plan what is not finished yet: an interrupted run goes on, any other is trained from the start."""
    rows = []
    for name, plan in plans.items():
        place = _place(out, name)
        if states[name] == "finished":
            console.print(f"{name}: finished before with these settings (--overwrite trains again)", highlight=False)
            rows.append(folder.read_result(place))
        else:
            rows.append(_train(plan, place, console, resume=states[name] == "unfinished", name=name))
    places = {name: _place(out, name) for name in plans}
    plan = next(iter(plans.values()))
    histories = {name: History.read(place / RECORD) for name, place in places.items()}
    report.save(report.loss_against_cost(histories, plan.title), out, ALL_LOSSES)
    title = f"{plan.title}, {plan.budget:g} gradient-equivalents each, seed {plan.problem.seed}"
    _show(rows, out, console, title, [Path(f"{ALL_LOSSES}.png"), *_figures(out, places.values())])


def _place(out: Path, name: str) -> Path:
    return out / name.replace(" ", "-").lower()


def _figures(out: Path, runs: Iterable[Path]) -> list[Path]:
    """The figures of the runs, relative to ``out``."""
    return [png.relative_to(out) for run in runs for png in sorted((run / folder.FIGURES).glob("*.png"))]


def _show(rows: Sequence[Row], out: Path, console: Console, title: str, figures: Sequence[Path]) -> None:
    """Print the table and write ``summary.md``: the table, the notes and the figures."""
    notes = report.notes(rows)
    images = "\n".join(f"![{figure.as_posix()}]({figure.as_posix()})" for figure in figures)
    text = "\n".join(f"- {note}" for note in notes)
    (out / folder.SUMMARY).write_text(
        f"# {title}\n\n{report.comparison_markdown(rows)}\n{text}\n\n{images}\n", encoding="utf-8"
    )
    console.print(report.comparison_table(rows, title))
    for line in (
        *notes,
        f"Records (JSONL, Parquet), checkpoints, figures (PNG, PDF) and their data (CSV) are in {out}; "
        f"the table and the figures are in {out / folder.SUMMARY}.",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
