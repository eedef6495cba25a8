"""Live progress of a run: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from homestretch.training import Progress as Epoch

_EVERY = 10.0  # seconds between lines where there is no terminal


class Live:
    """A callback that shows where a run is. Use it as a context."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._last = 0.0
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
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
        """Show an epoch."""
        record = progress.record
        total = progress.budget if progress.budget is not None else float(progress.epochs or 1)
        done = record.gradient_equivalents if progress.budget is not None else float(progress.epoch)
        phase = type(progress.optimizer.first).__name__ if record.phase == "first" else type(progress.optimizer.second).__name__
        text = (
            f"epoch {record.epoch} {phase} loss {record.loss:.3e} |g| {record.gradient_norm:.2e} "
            f"cost {record.gradient_equivalents:.1f}/{total:g} eq."
        )
        self._bar.update(self._task, completed=min(done / total, 1.0), text=text)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last >= _EVERY or done >= total):
            self._last = now
            self._console.print(f"{self._name}: {text}", highlight=False)
