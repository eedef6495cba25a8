"""What ``homestretch paper`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Literal

from rich.console import Console

from homestretch.cli.folder import check_out
from homestretch.cli.paper_flags import Figures, Models, Report, Table, check_data_dir
from homestretch.errors import CheckpointError, HomestretchError
from homestretch.history import History
from homestretch.paper import model_table
from homestretch.paper.figures import save_figures
from homestretch.paper.findings import page
from homestretch.paper.table.cells import Machine, cells
from homestretch.paper.table.outcome import Accounting, Outcome, collect, read_table, write_table
from homestretch.paper.table.summary import summary_grid, terminal_grids, write_summary
from homestretch.paper.table.traces import Key, read_histories, read_traces, write_traces
from homestretch.paper.table.workers import check_cells, run_cells
from homestretch.report.grid import Grid


@singledispatch
def dispatch(command: object) -> None:
    """Carry out a command below ``paper``."""
    raise TypeError(f"no such command: {command!r}")


@dispatch.register
def _(command: Models) -> None:
    rows = [(r.set, r.model, str(r.P), f"{r.Q:.1f}") for r in model_table()]
    heading = ("set", "model", "P", "Q")
    grid = Grid(heading, rows, "Parameters P and overdetermination ratio Q = K M / P", left=2)
    if command.format == "tsv":
        print("\n".join("\t".join(row) for row in (heading, *rows)))
    else:
        _print(grid, command.format)


@dispatch.register
def _(command: Table) -> None:
    out = command.out / command.size
    todo = cells(command.sets, command.models, command.recipes, command.seeds, command.size)
    accountings: list[Accounting] = ["cost", "printed"] if command.printed else ["cost"]
    failed = []
    check_data_dir(command.data_dir, command.sets)
    check_out(out)
    if command.run:
        machine = Machine(command.data_dir, command.device, command.compile, command.micro_batch, command.threads)
        check_cells(todo, machine, out, accountings)
        failed = run_cells(todo, machine, out, accountings=accountings, workers=command.workers, say=_say)
    if outcomes := collect(out):
        _show(outcomes, out, command.format)
    if failed:
        raise HomestretchError(f"{len(failed)} cells failed; see error.txt in their folders below {out}")
    if not outcomes:
        raise CheckpointError(f"{out} holds no outcomes: give --out and --size of a table that was run, or leave out --no-run")


@dispatch.register
def _(command: Figures) -> None:
    check_out(command.out)
    histories = {}
    if command.results is not None:
        histories = read_histories(command.results) if command.results.is_dir() else read_traces(command.results)
        if not any(key[:3] == (command.set, command.model, command.seed) for key in histories):
            known = ", ".join(sorted({f"{d}/{m} seed {s}" for d, m, s, _ in histories})) or "none"
            raise ValueError(
                f"{command.results} holds no run of {command.set}/{command.model} seed {command.seed}; it has {known}"
            )
    written = save_figures(command.out, histories, command.set, command.model, command.seed)
    needed = "" if histories else "; figures 5 and 6 are drawn from a table's runs, which --results names"
    _say(f"{len(written)} files in {command.out}{needed}")


@dispatch.register
def _(command: Report) -> None:
    check_out(command.out)
    outcomes = read_table(command.results)
    histories = read_traces(command.results.with_name(f"{command.results.stem}-epochs.parquet"))
    figures = command.out / "figures"
    for data, model in dict.fromkeys((o.set, o.model) for o in outcomes):
        save_figures(figures, histories, data, model)
    pictures = [path.relative_to(command.out).as_posix() for path in sorted(figures.glob("*.png"))]
    place = command.out / "what-we-found.md"
    note = _note_beside(command.results) if command.note is None else command.note
    place.write_text(page(outcomes, histories, command.results.as_posix(), pictures, note), encoding="utf-8")
    _say(f"the page is {place}")


def _note_beside(results: Path) -> str:
    """What is written by hand about how the results were made, in the file NAME.note.md beside them; else nothing."""
    place = results.with_name(f"{results.stem}.note.md")
    return place.read_text(encoding="utf-8").strip() if place.exists() else ""


def _show(outcomes: Sequence[Outcome], out: Path, form: Literal["table", "markdown", "latex"]) -> None:
    """Write the table into its folder, print it, and say where it is."""
    written = ", ".join(path.name for path in _write(outcomes, read_histories(out), out))
    for grid in terminal_grids(outcomes) if form == "table" else [summary_grid(outcomes)]:
        _print(grid, form)
    _say(f"The table, cell by cell and summed up, and the course of every run are in {out}: {written}")


def _write(outcomes: Sequence[Outcome], histories: Mapping[Key, History], out: Path) -> list[Path]:
    """Everything that a table's folder holds besides its cells."""
    written = write_table(outcomes, out, "table") + write_summary(outcomes, out, "summary")
    return [*written, write_traces(histories, out / "table-epochs.parquet")]


def _print(grid: Grid, form: str) -> None:
    if form == "table":
        Console().print(grid.terminal())
    else:
        print(grid.markdown() if form == "markdown" else grid.latex(), end="")


def _say(line: str) -> None:
    """A line at once, for whoever follows a log."""
    print(line, flush=True)
