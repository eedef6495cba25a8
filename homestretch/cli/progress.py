"""Live progress of a run: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from homestretch.history import EventRecord
from homestretch.training import Progress as Epoch

_EVERY = 10.0  # seconds between lines where there is no terminal


class Live:
    """A callback that shows where a run is. Use it as a context.

    Args:
        name: Name of the run.
        console: Where to show it.
        every: Seconds between two lines where there is no terminal.
    """

    def __init__(self, name: str, console: Console, every: float = _EVERY) -> None:
        self._name = name
        self._console = console
        self._every = every
        self._last = -every
        self._told: int | None = None  # records whose events were shown; those before a resumption are not
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=1.0, text="starting")

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, progress: Epoch) -> None:
        """Show an epoch, and what happened in it."""
        record, optimizer = progress.record, progress.optimizer
        total = progress.budget if progress.budget is not None else float(progress.epochs or 1)
        done = record.gradient_equivalents if progress.budget is not None else float(progress.epoch)
        method = type(optimizer.first if record.phase == "first" else optimizer.second).__name__
        text = (
            f"{record.epoch} {method} loss {record.loss:.2e} |g| {record.gradient_norm:.1e} "
            f"{record.gradient_equivalents:.0f} eq."
        )
        self._bar.update(self._task, completed=min(done / total, 1.0), text=text)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last >= self._every or done >= total):
            self._last = now
            self._say(f"epoch {text}" + (f" of {progress.budget:g}" if progress.budget is not None else ""))
        self._tell_events(progress)

    def _tell_events(self, progress: Epoch) -> None:
        history = progress.optimizer.history
        if self._told is None:  # the first call: what belongs to this epoch is new
            start = next((i for i, r in enumerate(history) if r is progress.record), len(history))
        else:
            start = self._told
        for record in history[start:]:
            if isinstance(record, EventRecord):
                self._say(f"{record.name} after epoch {record.epoch}: {record.message}")
        self._told = len(history)

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", highlight=False, markup=False, soft_wrap=True)
