"""fit(): a whole two-phase run in one line, with records, checkpoints and callbacks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from homestretch import checkpoint
from homestretch.history import EpochRecord, EventRecord, History
from homestretch.objective.batches import as_batches
from homestretch.objective.dataset import Loss, Objective
from homestretch.objective.modes import full_pass_mode
from homestretch.swap import Never
from homestretch.two_phase import TwoPhase
from homestretch.two_phase.averages import use_averaged_weights

RECORD = "record.jsonl"
Metric = Callable[[Any, Any], Tensor | float]
Callback = Callable[["Progress"], bool | None]


@dataclass(frozen=True)
class Progress:
    """What a callback gets after each epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        epochs: Number of epochs planned, ``None`` where only a budget is.
        budget: Gradient-equivalents planned, ``None`` where only epochs are.
        record: The epoch's record.
        optimizer: The optimizer, with its phase and history.
    """

    epoch: int
    epochs: int | None
    budget: float | None
    record: EpochRecord
    optimizer: TwoPhase


@dataclass(frozen=True)
class FitResult:
    """What :func:`fit` returns.

    Attributes:
        loss: Loss of the last epoch: a mean over mini-batches in the first phase, the accepted loss in the second.
        epochs: Epochs made.
        swap_epoch: The epoch after which the convex phase began, ``None`` if it did not.
        swap_reason: Why then.
        stop: Why the run ended, a sentence.
        gradient_equivalents: Counted cost.
        seconds: Wall time.
        history: All records.
        optimizer: The optimizer.
    """

    loss: float
    epochs: int
    swap_epoch: int | None
    swap_reason: str
    stop: str
    gradient_equivalents: float
    seconds: float
    history: History
    optimizer: TwoPhase


def fit(
    model: nn.Module,
    loss: Loss,
    data: Any,
    *,
    epochs: int | None = None,
    budget: float | None = None,
    first: Callable[[list[Tensor]], Optimizer] | None = None,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    second: Any = "auto",
    validation: Any = None,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    mode: str = "eval",
    dropout: str = "off",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 0.0,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> FitResult:
    """Train ``model``: mini-batches first, the convex phase after the swap.

    Example:
        >>> result = fit(model, torch.nn.functional.mse_loss, (inputs, targets), epochs=200)

    Args:
        model: The model, trained in place.
        loss: ``loss(outputs, targets)``, the mean over the batch.
        data: A pair of tensors, a map-style ``Dataset`` or a ``DataLoader``.
        epochs: Epochs to make; after the swap one epoch is one iteration.
        budget: Cost to spend, in gradient-equivalents. At least one of ``epochs`` and ``budget`` must be given.
        first: ``first(parameters) -> Optimizer``; Adam with learning rate 1e-3 by default.
        schedule: ``schedule(optimizer) -> LRScheduler``, stepped after each epoch of the first phase.
        second: ``"auto"``, ``second(parameters) -> Descent``, or ``None`` for the first phase alone.
        validation: Data like ``data``, evaluated after each epoch (not counted as cost).
        metrics: Name to ``metric(outputs, targets)``, a mean over the batch; evaluated on the validation data.
        batch_size: Samples in a mini-batch; 512 by default, or the loader's.
        micro_batch: Samples in one piece of a full pass.
        mode: What batch norm does in full passes, ``"eval"`` or ``"train"``; see :class:`~homestretch.objective.Objective`.
        dropout: What dropout does in them, ``"off"`` or ``"fixed"``; likewise.
        seed: Decides the order of the mini-batches.
        out: Folder for the record and a checkpoint after each epoch.
        resume: Go on from the checkpoint in ``out``.
        save_every: Seconds of work between two checkpoints, for runs whose epochs are short beside the time that one takes
            to write; the last epoch's is always written.
        callbacks: Called after each epoch with a :class:`Progress`; a true result ends the run.
        options: Passed to :class:`~homestretch.two_phase.TwoPhase`: ``rule``, ``resort``, ``gradient_norm``, ...

    Raises:
        ValueError: If neither ``epochs`` nor ``budget`` is given, or an argument is out of range.
        CheckpointError: If ``resume`` finds no checkpoint, or a damaged or foreign one.
    """
    if epochs is None and budget is None:
        raise ValueError("give epochs, budget or both: fit() must know when to end")
    if (epochs is not None and epochs < 1) or (budget is not None and not budget > 0.0):
        raise ValueError(f"epochs and budget must be positive, got epochs={epochs}, budget={budget}")
    if resume and out is None:
        raise ValueError("resume needs out, the folder with the checkpoint")
    if not save_every >= 0.0:
        raise ValueError(f"save_every must not be negative, got {save_every}")
    objective = Objective(
        model, loss, data, batch_size=batch_size, micro_batch=micro_batch, mode=mode, dropout=dropout, seed=seed
    )
    make_first = first or (lambda parameters: Adam(parameters, lr=1e-3))
    first_optimizer = make_first(objective.parameters)
    if second is None:
        options["rule"], second = Never(), "auto"
    optimizer = TwoPhase(
        objective.parameters,
        objective,
        first=first_optimizer,
        second=second,
        budget=budget if budget is not None else float(epochs or 0),
        metrics=_on_validation(model, loss, validation, metrics),
        history=History(Path(out) / RECORD) if out is not None and not resume else History(),
        **options,
    )
    scheduler = schedule(first_optimizer) if schedule is not None else None
    run = _Run(model, optimizer, scheduler, out, epochs, budget, callbacks, save_every)
    if resume:
        run.resume()
    return run.go()


def evaluate(model: nn.Module, loss: Loss, data: Any, metrics: Mapping[str, Metric] | None = None) -> dict[str, float]:
    """Loss and metrics of ``model`` over ``data``, in eval mode: means over the samples.

    Returns:
        ``loss`` and one number for each metric.
    """
    batches = as_batches(data, batch_size=None, micro_batch=None)
    functions: dict[str, Metric] = {"loss": loss, **(metrics or {})}
    totals = dict.fromkeys(functions, 0.0)
    with full_pass_mode(model, "eval"), torch.no_grad():
        for (inputs, targets), count in batches.full():
            outputs = model(inputs)
            for name, function in functions.items():
                totals[name] += float(function(outputs, targets)) * count / len(batches)
    return totals


def _on_validation(
    model: nn.Module, loss: Loss, data: Any, metrics: Mapping[str, Metric] | None
) -> Callable[[], dict[str, float]] | None:
    if data is None:
        return None
    return lambda: {f"validation_{name}": value for name, value in evaluate(model, loss, data, metrics).items()}


class _Run:
    """The loop over epochs, with what it needs to stop and go on."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: TwoPhase,
        scheduler: LRScheduler | None,
        out: str | os.PathLike[str] | None,
        epochs: int | None,
        budget: float | None,
        callbacks: Sequence[Callback],
        save_every: float,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.out = out
        self.epochs = epochs
        self.budget = budget
        self.callbacks = callbacks
        self.save_every = save_every
        self.saved = time.monotonic()

    def go(self) -> FitResult:
        stop = self.why_stop()
        while not stop:
            was_first = self.optimizer.phase == "first"
            for closure in self.optimizer.epoch():
                self.optimizer.step(closure)
            if was_first and self.scheduler is not None:
                step_schedule(self.scheduler, self.optimizer)
            _, record = self.optimizer.history.last(EpochRecord)
            stop = self.why_stop()
            if self.out is not None and (stop or time.monotonic() - self.saved >= self.save_every):
                self.save()
            for callback in self.callbacks:
                if callback(Progress(self.optimizer.epochs, self.epochs, self.budget, record, self.optimizer)):
                    stop = stop or "a callback asked for the end"
        return self.finish(stop)

    def why_stop(self) -> str:
        """Why the run is over, empty while it is not."""
        optimizer = self.optimizer
        if self.epochs is not None and optimizer.epochs >= self.epochs:
            return f"all {self.epochs} epochs are made"
        # A sum of mini-batches' shares may miss the budget by its rounding, which is no reason for one more epoch.
        if self.budget is not None and optimizer.meter.gradient_equivalents >= self.budget * (1.0 - 1e-9):
            return f"the budget of {self.budget:g} gradient-equivalents is spent"
        if optimizer.phase == "second" and optimizer.second.stop_reason is not None:
            return f"the convex phase stopped: {optimizer.second.stop_reason.value}"
        return ""

    def save(self) -> None:
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "records": len(self.optimizer.history),
        }
        checkpoint.save(str(self.out), content)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Take over a checkpoint: parameters, optimizer, schedule, random state, and the record up to it."""
        folder = Path(str(self.out))
        content = checkpoint.load(folder)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.scheduler is not None and content["scheduler"] is not None:
            self.scheduler.load_state_dict(content["scheduler"])
        known = History.read(folder / RECORD)
        known.rewind(int(content["records"]))
        known.continue_at(folder / RECORD)
        self.optimizer.history = known
        checkpoint.set_random_state(content["random"])

    def finish(self, stop: str) -> FitResult:
        optimizer = self.optimizer
        if optimizer.phase == "first":
            use_averaged_weights(optimizer.first)  # the checkpoint has those that training goes on from
        elif isinstance(optimizer.objective, Objective) and optimizer.objective.mode == "train":
            optimizer.objective.settle()  # so that the model can be put into eval mode
        optimizer.history.append(EventRecord(epoch=optimizer.epochs, name="stop", message=stop))
        if self.out is not None:
            optimizer.history.to_parquet(self.out) if _has_parquet() else None
        epochs = optimizer.history.of(EpochRecord)
        return FitResult(
            loss=epochs[-1].loss if epochs else float("nan"),
            epochs=optimizer.epochs,
            swap_epoch=optimizer.swap_epoch,
            swap_reason=optimizer.swap_reason,
            stop=stop,
            gradient_equivalents=optimizer.meter.gradient_equivalents,
            seconds=optimizer.meter.seconds,
            history=optimizer.history,
            optimizer=optimizer,
        )


def step_schedule(schedule: LRScheduler | ReduceLROnPlateau, optimizer: TwoPhase) -> None:
    """One step of a schedule after an epoch of the first phase; those that watch the loss get the epoch's."""
    if isinstance(schedule, ReduceLROnPlateau):
        _, record = optimizer.history.last(EpochRecord)
        schedule.step(record.loss)
    else:
        schedule.step()


def _has_parquet() -> bool:
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None
