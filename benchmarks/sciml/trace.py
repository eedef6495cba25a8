"""What a run leaves behind: samples of loss, held-out loss and error against time and counted cost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.sciml.problem import Problem

GROWTH = 1.1
"""A sample is taken whenever the cost has grown by this factor."""


class Sample(NamedTuple):
    """One line of a trace.

    Attributes:
        seconds: wall time.
        cpu_seconds: processor time, what it would have taken on a core of its own.
        gradient_equivalents: counted cost.
        iterations: the solver's iterations.
        loss: the lowest loss so far, since the points were last redrawn.
        held_out: the loss at the points that no method trains on.
        error: the problem's error.
    """

    seconds: float
    cpu_seconds: float
    gradient_equivalents: float
    iterations: int
    loss: float
    held_out: float
    error: float


class Clock:
    """Wall and processor time of this process, both of which can be paused."""

    def __init__(self) -> None:
        self.restart()

    @property
    def wall(self) -> float:
        """Wall time in seconds."""
        return time.perf_counter() - self._wall

    @property
    def processor(self) -> float:
        """Processor time in seconds, of all threads."""
        return time.process_time() - self._processor

    def restart(self) -> None:
        """Set both to zero."""
        self._wall, self._processor = time.perf_counter(), time.process_time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is done inside."""
        wall, processor = self.wall, self.processor
        try:
            yield
        finally:
            self._wall, self._processor = time.perf_counter() - wall, time.process_time() - processor


class Tracer:
    """Takes samples of a problem at its current parameters, on a paused clock.

    Args:
        problem: the problem.

    Attributes:
        clock: the run's clock.
        samples: the trace.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.clock = Clock()
        self.samples: list[Sample] = []
        self._due = 0.0

    def due(self, cost: float) -> bool:
        """Say whether it is time for a sample."""
        if cost < self._due:
            return False
        self._due = max(1.0, cost * GROWTH)
        return True

    def take(self, cost: float, iterations: int, loss: float) -> Sample:
        """Take a sample."""
        with self.clock.paused():
            held_out, error = self.problem.held_out_loss(), self.problem.error()
        sample = Sample(self.clock.wall, self.clock.processor, cost, iterations, loss, held_out, error)
        self.samples.append(sample)
        return sample


def kept(samples: list[Sample]) -> Sample:
    """Return the sample of the lowest finite held-out loss: the point that a user would keep, who knows no error."""
    return min(samples, key=lambda s: s.held_out if math.isfinite(s.held_out) else math.inf)
