"""A run of a two-phase optimizer: epoch after epoch, with checkpoints and callbacks, until it is over; and going on with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from homestretch import checkpoint
from homestretch.errors import CheckpointError
from homestretch.history import EpochRecord, EventRecord, History
from homestretch.objective.dataset import Objective
from homestretch.ranks_of_run import Ranks
from homestretch.same_run import Traits, refuse_another
from homestretch.two_phase import TwoPhase
from homestretch.two_phase.averages import use_averaged_weights
from homestretch.two_phase.kept import restore_best

RECORD = "record.jsonl"
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
        loss: Loss of the last epoch: a mean over mini-batches in the first phase, the accepted loss in the second; or that of
            the best point of a convex phase that the run had gone back from, if it ended above it.
        epochs: Epochs made.
        swap_epoch: The epoch after which the convex phase began, ``None`` if it did not.
        swap_reason: Why then; if it did not, what the rule said last.
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
    history: History = field(repr=False)
    optimizer: TwoPhase = field(repr=False)


@dataclass
class Run:
    """The loop over epochs, with what it needs to stop and go on.

    Attributes:
        model: The model.
        optimizer: The optimizer over its parameters.
        scheduler: A learning-rate schedule of the first optimizer.
        out: Folder for checkpoints.
        epochs: Epochs planned.
        budget: Gradient-equivalents planned.
        callbacks: Called after each epoch.
        save_every: Seconds between two checkpoints.
        traits: What a run that is gone on with must have in common with this one, see `homestretch.same_run`.
        ranks: Those that the run is spread over.
        saved: When the last one was written, by the monotonic clock.
    """

    model: nn.Module
    optimizer: TwoPhase
    scheduler: LRScheduler | None
    out: Path | None
    epochs: int | None
    budget: float | None
    callbacks: Sequence[Callback]
    save_every: float
    traits: Traits
    ranks: Ranks
    saved: float = field(default_factory=time.monotonic)

    def go(self) -> FitResult:
        """Make epochs until the run is over."""
        self._allow()  # a resumed run may have a larger budget
        stop = self.why_stop()
        while not stop:
            self._epoch()
            stop = self.why_stop()
            if self.out is not None and (stop or self.ranks.first(time.monotonic() - self.saved >= self.save_every)):
                self.save()
            stop = self._call_back() or stop
        return self.finish(stop)

    def why_stop(self) -> str:
        """Why the run is over, empty while it is not."""
        optimizer = self.optimizer
        if self.epochs is not None and optimizer.epochs >= self.epochs:
            return f"all {self.epochs} epochs are made"
        # A sum of mini-batches' shares may miss the budget by its rounding, which is no reason for one more epoch.
        if self.budget is not None and optimizer.spent >= self._to_spend() * (1.0 - 1e-9):
            return f"the budget of {self.budget:g} gradient-equivalents is spent"
        if optimizer.phase == "second" and optimizer.second.stop_reason is not None:
            return f"the convex phase stopped: {optimizer.second.stop_reason.value}"
        return ""

    def save(self) -> None:
        """Write a checkpoint."""
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": _without_functions(self.scheduler.state_dict()) if self.scheduler is not None else None,
            "records": len(self.optimizer.history),
            "traits": self.traits,
            "epochs": self.optimizer.epochs,
        }
        with self.ranks.together("writing the checkpoint"):
            checkpoint.save(str(self.out), content)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Take over a checkpoint: parameters, optimizer, schedule, random state, and the record up to it.

        Raises:
            CheckpointError: If there is none, or it is damaged, of another kind of run, or of one with other data or settings.
        """
        folder = Path(str(self.out))
        content = self._read(folder)
        with _foreign_refused(folder):
            self.optimizer.load_state_dict(content["optimizer"])  # first: it knows the dtype of the saved parameters
            self.model.load_state_dict(content["model"])
            if (self.scheduler is None) != (content["scheduler"] is None):
                raise ValueError("it was written with a schedule and is read without one, or the other way round")
            if self.scheduler is not None:
                self.scheduler.load_state_dict(content["scheduler"])
        known = History.read(folder / RECORD)
        if len(known) < int(content["records"]):
            raise CheckpointError(
                f"{folder / RECORD} holds {len(known)} records, the checkpoint was written after {content['records']}: it was "
                "cut off or written anew since. Put it back, or begin anew in another folder"
            )
        known.rewind(int(content["records"]))
        known.continue_at(folder / RECORD)
        self.optimizer.history = known
        checkpoint.set_random_state(content["random"])

    def _read(self, folder: Path) -> dict[str, Any]:
        """The checkpoint; the one before it where another rank was killed before it could write as late a one."""
        with self.ranks.together("reading the checkpoint"):
            content = checkpoint.load(folder)
            refuse_another(content.get("traits", {}), self.traits, folder)  # none where a shared first phase was laid out
        epochs = int(content.get("epochs", 0))
        common = self.ranks.least(epochs)
        with self.ranks.together("reading the checkpoint of the last epoch that all ranks have made"):
            content = content if epochs == common else checkpoint.load(folder, previous=True)
            if int(content.get("epochs", 0)) != common:
                raise CheckpointError(f"{folder} holds no checkpoint of epoch {common}, the last one that another rank holds")
        return content

    def finish(self, stop: str) -> FitResult:
        """Put the model into the state that a user wants, write what is left to write, and tell."""
        optimizer = self.optimizer
        if optimizer.phase == "first":
            use_averaged_weights(optimizer.first)  # the checkpoint has those that training goes on from
        restored = restore_best(optimizer)
        objective = optimizer.objective
        if restored is None and optimizer.phase == "second" and isinstance(objective, Objective) and objective.mode == "train":
            objective.settle()  # so that the model can be put into eval mode
        optimizer.history.append(EventRecord(epoch=optimizer.epochs, name="stop", message=stop))
        if self.out is not None and find_spec("pyarrow") is not None:
            optimizer.history.to_parquet(self.out)
        epochs = optimizer.history.of(EpochRecord)
        last = epochs[-1].loss if epochs else float("nan")
        return FitResult(
            loss=last if restored is None else restored,
            epochs=optimizer.epochs,
            swap_epoch=optimizer.swap_epoch,
            swap_reason=optimizer.swap_reason,
            stop=stop,
            gradient_equivalents=optimizer.spent,
            seconds=optimizer.seconds,
            history=optimizer.history,
            optimizer=optimizer,
        )

    def _epoch(self) -> None:
        """One epoch, and as many steps of the schedule as it brought epochs of the first phase: a race brings several."""
        self._allow()
        before = self.optimizer.first_epochs
        for closure in self.optimizer.epoch():
            self.optimizer.step(closure)
        made = self.optimizer.first_epochs - before
        if self.scheduler is None or not made:
            return
        for record in self.optimizer.history.of(EpochRecord)[-made:]:
            step_schedule(self.scheduler, record.loss)

    def _allow(self) -> None:
        """Let the convex phase spend what is left of the budget; whatever its iterations need where only epochs are given.

        A run of so many epochs makes them all, so that one that is gone on with for more is the run left alone, bit for bit.
        """
        if self.optimizer.phase == "second":
            budget = math.inf if self.budget is None else self._to_spend()
            self.optimizer.second.allow(max(budget - self.optimizer.spent, 0.0))

    def _to_spend(self) -> float:
        """The budget, less what the look back at the best point will cost."""
        return (self.budget or math.inf) - self.optimizer.kept.price(self.optimizer.objective)

    def _call_back(self) -> str:
        _, record = self.optimizer.history.last(EpochRecord)
        progress = Progress(self.optimizer.epochs, self.epochs, self.budget, record, self.optimizer)
        with self.ranks.together("a callback"):
            wishes = [bool(callback(progress)) for callback in self.callbacks]
        if not self.ranks.any(any(wishes)):
            return ""
        if self.out is not None and self.save_every > 0.0:
            self.save()
        return "a callback asked for the end"


def step_schedule(schedule: LRScheduler | ReduceLROnPlateau, loss: float) -> None:
    """One step of a schedule after an epoch of the first phase; those that watch the loss get the epoch's."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(loss)
    else:
        schedule.step()


def _without_functions(state: Any) -> Any:
    """The state of a schedule, or of several, without functions: whoever makes it again makes them again, as torch's do."""
    if type(state) is dict:
        return {name: _without_functions(value) for name, value in state.items() if not callable(value)}
    return [_without_functions(value) for value in state] if type(state) is list else state


@contextmanager
def _foreign_refused(folder: Path) -> Iterator[None]:
    """Whatever does not fit is said with the name of the folder."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} is that of another run ({type(error).__name__}: {error}): resume with the model, the "
            "optimizers, the rule and the schedule that it was written with"
        ) from error
