"""One run each: the convex phase from a stored epoch, and methods that must run from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.swap.cells import Cell
from benchmarks.swap.methods import Live
from benchmarks.swap.recording import Record, Training, checkpoints
from homestretch import Never, NoResort
from homestretch.history import EpochRecord, EventRecord

_ROUNDING = 1e-9  # a sum of mini-batches' shares may miss the budget by its rounding


class LastWithin:
    """The last state within the budget: what a line search overspends buys nothing.

    Args:
        training: the training that is looked at.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._limit = training.cell.budget * (1.0 + _ROUNDING)
        self._fields: Record = {}

    def take(self, loss: float | None = None) -> None:
        """Look at the present state, unless the budget is overspent; without a loss it is evaluated, uncounted."""
        training = self._training
        if training.cost > self._limit and self._fields:
            return  # before anything was taken, what a swap in the last epoch overspends is shown
        end = training.measure() if loss is None else {"loss": loss, "error": training.error()}
        meter = training.optimizer.meter
        self._fields = {
            **end,
            "gradient_equivalents": training.cost,
            "evaluations": meter.evaluations,
            "seconds": meter.seconds,
        }

    def fields(self) -> Record:
        """What is kept of the run."""
        return dict(self._fields)


def swapped_run(cell: Cell, seed: int, epoch: int, folder: Path) -> Record:
    """The convex phase from a stored epoch of the first to the end of the budget, without a way back."""
    path = checkpoints(cell, seed, [epoch], folder)[epoch]
    training = Training(cell, seed, rule=Never(), resort=NoResort())
    training.load(torch.load(path, weights_only=True))
    optimizer = training.optimizer
    optimizer.objective.check_deterministic()  # type: ignore[union-attr] - as at any swap
    second, function = optimizer.prepare_second(), optimizer.second_function(optimizer.objective)
    last = LastWithin(training)
    last.take()
    while second.stop_reason is None and training.cost < cell.budget:
        last.take(float(second.step(function) or 0.0))
    stop = second.stop_reason
    return {**last.fields(), "status": f"stopped: {stop.name.lower()}" if stop else "budget", "swap_epoch": epoch}


def live_run(cell: Cell, seed: int, method: Live) -> Record:
    """A method from the start to the end of the budget, with whatever it probes and wherever it goes back."""
    options: dict[str, Any] = method.options() if method.two_phases else {"rule": Never(), "resort": NoResort()}
    training = Training(cell, seed, cosine=method.cosine, growth=method.growth, **options)
    last, optimizer = LastWithin(training), training.optimizer
    while not _over(training):
        training.epoch()
        if optimizer.phase == "second":
            record = optimizer.history.of(EpochRecord)[-1]
            growing = optimizer.growing
            exact = record.phase == "second" and (growing is None or record.metrics["samples"] == growing.objective.samples)
            last.take(record.loss if exact else None)
    if optimizer.phase == "first":
        last.take()
    events = [event.name for event in optimizer.history.of(EventRecord)]
    return {
        **last.fields(),
        "status": f"ended in the {optimizer.phase} phase",
        "swap_epoch": optimizer.swap_epoch,
        "returns": events.count("resort"),
        "detail": optimizer.swap_reason,
    }


def _over(training: Training) -> bool:
    """Whether the budget pays no more epoch of the first phase, is spent in the second, or that one has stopped."""
    cell, optimizer = training.cell, training.optimizer
    if optimizer.phase == "first":
        return training.cost + 1.0 > cell.budget * (1.0 + _ROUNDING)
    return training.cost >= cell.budget or optimizer.second.stop_reason is not None
