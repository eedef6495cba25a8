"""What ``homestretch paper`` does."""

from __future__ import annotations

from functools import singledispatch

from rich.console import Console
from rich.table import Table as Shown

from homestretch.cli.paper_flags import Models, Table
from homestretch.errors import HomestretchError
from homestretch.paper import model_table
from homestretch.paper.table.cells import Machine, cells
from homestretch.paper.table.outcome import Accounting, collect, write_table
from homestretch.paper.table.workers import run_cells


@singledispatch
def dispatch(command: object) -> None:
    """Carry out a command below ``paper``."""
    raise TypeError(f"no such command: {command!r}")


@dispatch.register
def _(command: Models) -> None:
    rows = [(r.set, r.model, str(r.P), f"{r.Q:.1f}") for r in model_table()]
    heading = ("set", "model", "P", "Q")
    if command.format == "tsv":
        print("\n".join("\t".join(row) for row in (heading, *rows)))
    elif command.format == "markdown":
        print("\n".join("| " + " | ".join(row) + " |" for row in (heading, ("---", "---", "---:", "---:"), *rows)))
    else:
        table = Shown(*heading, title="Parameters P and overdetermination ratio Q = K M / P")
        for row in rows:
            table.add_row(*row)
        Console().print(table)


@dispatch.register
def _(command: Table) -> None:
    out = command.out / command.size
    todo = cells(command.sets, command.models, command.recipes, command.seeds, command.size)
    accountings: list[Accounting] = ["cost", "printed"] if command.printed else ["cost"]
    failed = []
    if command.run:
        machine = Machine(command.data_dir, command.device, command.compile, command.micro_batch, command.threads)
        failed = run_cells(todo, machine, out, accountings=accountings, workers=command.workers, say=_say)
    write_table(collect(out), out, "table")
    if failed:
        raise HomestretchError(f"{len(failed)} cells failed; see error.txt in their folders below {out}")


def _say(line: str) -> None:
    """A line at once, for whoever follows a log."""
    print(line, flush=True)
