"""Run the cells of the table, one after the other or several at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from time import perf_counter
from traceback import format_exception_only
from typing import Any

from homestretch.paper.table.cells import Cell, Machine, shares_adam
from homestretch.paper.table.outcome import Accounting, read_outcomes
from homestretch.paper.table.run_cell import missing, run_cell
from homestretch.paper.task import check, check_data

__all__ = ["check_cells", "run_cells"]

_ERROR = "error.txt"


def check_cells(todo: Sequence[Cell], machine: Machine, out: Path, accountings: Sequence[Accounting] = ("cost",)) -> None:
    """Refuse at the door what would fail in every cell of a set; sets whose cells are all finished are not looked at.

    Raises:
        ValueError: If the machine is out of range.
        DataError: If a set cannot be found or read.
    """
    of_each_set = {cell.set: cell for cell in todo if missing(cell, out, accountings)}
    for cell in of_each_set.values():
        problem = cell.problem(machine)
        check(problem)
        check_data(problem)


def run_cells(
    todo: Sequence[Cell],
    machine: Machine,
    out: Path,
    *,
    accountings: Sequence[Accounting] = ("cost",),
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> list[Cell]:
    """Run every cell that is not finished, each in a process of its own if there are several workers.

    Args:
        todo: The cells, in order of preference.
        machine: Where to run them.
        out: Folder of the table.
        accountings: Where to measure.
        workers: Cells at a time.
        say: Called with a line when a cell begins and when it ends.

    Returns:
        Cells that failed; the reason was said and is in their folder.

    Raises:
        ValueError: If ``workers`` is not positive.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    queue = [cell for cell in todo if missing(cell, out, accountings)]
    say(f"{len(todo) - len(queue)} of {len(todo)} cells are finished, {len(queue)} to run")
    if workers == 1:
        return [cell for cell in queue if not _run_here(cell, machine, out, accountings, say)]
    return _Pool(queue, machine, out, accountings, workers, say).run()


def _run_here(cell: Cell, machine: Machine, out: Path, accountings: Sequence[Accounting], say: Callable[[str], None]) -> bool:
    say(f"{cell.name}: begins")
    started = perf_counter()
    _work(cell, machine, out, accountings)
    return _tell(cell, out, accountings, perf_counter() - started, say)


def _work(cell: Cell, machine: Machine, out: Path, accountings: Sequence[Accounting]) -> None:
    """One cell, in whatever process; an error is written down, for one bad cell must not end the table."""
    error_file = out / cell.path / _ERROR
    error_file.unlink(missing_ok=True)
    try:
        run_cell(cell, machine, out, accountings)
    except Exception as error:
        error_file.parent.mkdir(parents=True, exist_ok=True)
        error_file.write_text("".join(format_exception_only(error)).strip() + "\n", encoding="utf-8")


def _tell(cell: Cell, out: Path, accountings: Sequence[Accounting], seconds: float, say: Callable[[str], None]) -> bool:
    folder = out / cell.path
    if (folder / _ERROR).exists():
        say(f"{cell.name}: FAILED, {(folder / _ERROR).read_text(encoding='utf-8').strip()}")
        return False
    if missing(cell, out, accountings):
        say(f"{cell.name}: FAILED, its process ended without a result")
        return False
    for o in read_outcomes(folder):
        swap = "no swap" if o.swap_epoch is None else f"swap after {o.swap_epoch}"
        say(
            f"{cell.name} ({o.accounting}): train loss {o.train_loss:.3e}, validation accuracy {o.validation_accuracy:.4f}, "
            f"{o.gradient_equivalents:.1f} eq., {swap}, {seconds:.0f} s"
        )
    return True


class _Pool:
    """Processes, each with one cell; a cell that starts from Adam's epochs waits until these are made."""

    def __init__(
        self,
        queue: Sequence[Cell],
        machine: Machine,
        out: Path,
        accountings: Sequence[Accounting],
        workers: int,
        say: Callable[[str], None],
    ) -> None:
        self._queue = list(queue)
        self._machine = machine
        self._out = out
        self._accountings = accountings
        self._workers = workers
        self._say = say
        self._running: dict[Any, tuple[Any, Cell, float]] = {}
        self._failed: list[Cell] = []
        # A fresh interpreter for each cell: a fork of one that has run torch may hang, and cannot use a GPU.
        self._context = multiprocessing.get_context("spawn")

    def run(self) -> list[Cell]:
        while self._queue or self._running:
            while len(self._running) < self._workers and (cell := self._next()) is not None:
                self._start(cell)
            for sentinel in wait(list(self._running)):
                self._finish(sentinel)
        return self._failed

    def _next(self) -> Cell | None:
        unmade = {*self._queue, *(cell for _, cell, _ in self._running.values())}
        for cell in self._queue:
            if cell.adam == cell or not shares_adam(cell.plan) or cell.adam not in unmade:
                self._queue.remove(cell)
                return cell
        return None

    def _start(self, cell: Cell) -> None:
        self._say(f"{cell.name}: begins")
        arguments = (cell, self._machine, self._out, self._accountings)
        process = self._context.Process(target=_work, args=arguments)
        process.start()
        self._running[process.sentinel] = (process, cell, perf_counter())

    def _finish(self, sentinel: Any) -> None:
        process, cell, started = self._running.pop(sentinel)
        process.join()
        if not _tell(cell, self._out, self._accountings, perf_counter() - started, self._say):
            self._failed.append(cell)
