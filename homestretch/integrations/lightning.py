"""Lightning: a data module and a callback, with the module's own ``training_step`` and automatic optimization.

Lightning gives an optimizer one closure a batch. That is what the first phase needs; the convex phase needs a closure over
all the data. :class:`PhasedData` hands Lightning mini-batches before the swap and all the data as one batch after it, so an
epoch is then one iteration; :class:`HomeStretch` closes epochs, so that the swap rule is asked, and says what happens.
"""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from homestretch.descent import Descent
from homestretch.errors import HomestretchWarning
from homestretch.history import EpochRecord, EventRecord, IterationRecord
from homestretch.integrations.common import (
    end_epoch,
    in_second_phase,
    is_ours,
    missing,
    plan_budget,
    step_to_accepted,
    warn_about_dropout,
)
from homestretch.two_phase import TwoPhase

try:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging, WeightAveraging
    from lightning.pytorch.utilities.model_helpers import is_overridden
    from lightning.pytorch.utilities.rank_zero import rank_zero_info
except ImportError as error:
    raise missing("lightning") from error


class PhasedData(LightningDataModule):
    """Mini-batches in the first phase, all the data as one batch in the second.

    Args:
        dataset: The training data, a map-style data set; all of it must fit in memory as one batch.
        batch_size: Samples in a mini-batch of the first phase.
        validation: Data for the validation loop, taken as one batch; ``None`` for no such loop.
        options: Passed to every ``DataLoader``: ``num_workers``, ``collate_fn``, ``pin_memory``, ...
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, validation: Dataset[Any] | None = None, **options: Any) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.options = options
        if validation is not None:  # Lightning takes the mere existence of the hook for a wish to validate
            batch = _length(validation)
            self.val_dataloader = lambda: DataLoader(validation, batch_size=batch, **options)

    def train_dataloader(self) -> DataLoader[Any]:
        """Loader for the phase that the trainer's optimizer is in; asked for again each epoch.

        While the optimizer is being made (``trainer.estimated_stepping_batches`` asks then) the phase is the first.

        Raises:
            ValueError: If the trainer has no :class:`HomeStretch`: nobody would ask the rule, and the run would never swap.
        """
        trainer = self.trainer
        if trainer is not None and not any(isinstance(callback, HomeStretch) for callback in _callbacks(trainer)):
            raise ValueError("PhasedData needs the callback that asks for the swap: give the Trainer callbacks=[HomeStretch()]")
        if trainer is not None and trainer.optimizers and in_second_phase(_optimizer(trainer)):
            return DataLoader(self.dataset, batch_size=_length(self.dataset), shuffle=False, **self.options)
        return DataLoader(self.dataset, batch_size=self.batch_size, shuffle=True, **self.options)


class HomeStretch(Callback):
    """Closes the epochs of a :class:`~homestretch.TwoPhase`, says why it swaps, and ends training when the convex phase stops.

    Works with a single optimizer from ``configure_optimizers``, automatic optimization and one process. The epoch's loss,
    gradient norm and phase (1 or 2) are logged as ``homestretch/loss``, ``homestretch/gradient_norm``, ``homestretch/phase``.
    Let other callbacks monitor that loss: what ``training_step`` logs is a mean over the trial points of line searches. A
    TwoPhase without a budget is given one of ``max_epochs``.

    Attributes:
        stop: Why the convex phase ended training; empty if it did not.
    """

    def __init__(self) -> None:
        self.stop = ""
        self._told = 0  # records of the optimizer's history that were looked at
        self._stepped = False  # since an epoch was last closed
        self._step: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the run, before a checkpoint is read, whose state goes first."""
        plan_budget(_optimizer(trainer), trainer.max_epochs)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what would break a line search, before any time is spent.

        Raises:
            ValueError: If the trainer clips, scales or accumulates gradients, averages weights, leaves out batches, counts
                batches to a validation or runs several processes, or if the optimizer or the data do not fit.
        """
        for problem in _problems(trainer, pl_module):
            raise ValueError(problem)
        warn_about_dropout(pl_module)
        _warn_about_monitors(trainer)
        self._told, self._stepped = 0, False
        self._watch_steps(_optimizer(trainer), pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the optimizer its own step back."""
        _optimizer(trainer).step = self._step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the convex phase gets all the data as one batch."""
        if in_second_phase(_optimizer(trainer)) and trainer.num_training_batches != 1:
            raise ValueError(
                f"the convex phase got {trainer.num_training_batches} batches an epoch: it needs all the data in one. Use "
                "PhasedData, or a DataLoader with batch_size=len(dataset) and shuffle=False"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask the rule or the resort, log, and end training if the convex phase has stopped."""
        optimizer = _optimizer(trainer)
        if not self._stepped:  # resumed from a checkpoint of the validation loop: the end of its epoch, without the steps
            return
        self._stepped = False
        self.stop = end_epoch(optimizer)
        if isinstance(optimizer, TwoPhase):
            self._tell_events(optimizer)
        pl_module.log_dict(_numbers(optimizer))
        if self.stop:
            rank_zero_info(self.stop)
            trainer.should_stop = True

    def _watch_steps(self, optimizer: Optimizer, module: LightningModule) -> None:
        """Let every step of the convex phase end with what belongs to its point, and note that there was one."""
        self._step = step = optimizer.step

        @functools.wraps(step)
        def watched(_: Optimizer, closure: Callable[[], Any], **options: Any) -> Any:
            self._stepped = True
            return step_to_accepted(functools.partial(step, **options), closure, optimizer, module)

        optimizer.step = types.MethodType(watched, optimizer)  # type: ignore[method-assign]  # bound, as schedules expect it

    def _tell_events(self, optimizer: TwoPhase) -> None:
        for record in optimizer.history[self._told :]:
            if isinstance(record, EventRecord):
                rank_zero_info(f"epoch {record.epoch}, {record.name}: {record.message}")
        self._told = len(optimizer.history)


def _numbers(optimizer: TwoPhase | Descent) -> dict[str, float]:
    """What is logged of the latest epoch; nothing where a method alone stops before its first iteration."""
    history = optimizer.history
    records = history.of(EpochRecord) if isinstance(optimizer, TwoPhase) else history.of(IterationRecord)
    if not records:
        return {}
    last = records[-1]
    phase = 1.0 if isinstance(last, EpochRecord) and last.phase == "first" else 2.0
    numbers = {"loss": last.loss, "gradient_norm": last.gradient_norm, "phase": phase}
    return {f"homestretch/{name}": value for name, value in numbers.items()}


def _optimizer(trainer: Trainer) -> TwoPhase | Descent:
    """The one optimizer of a trainer."""
    if len(trainer.optimizers) != 1 or not is_ours(trainer.optimizers[0]):
        found = ", ".join(type(o).__name__ for o in trainer.optimizers) or "none"
        raise ValueError(f"configure_optimizers must return one TwoPhase or one Descent, got {found}")
    return trainer.optimizers[0]


def _setting(trainer: Trainer, name: str, default: Any) -> Any:
    """What a connector has set in the trainer, unseen by type checkers."""
    return getattr(trainer, name, default)


def _callbacks(trainer: Trainer) -> list[Callback]:
    return _setting(trainer, "callbacks", [])


def _problems(trainer: Trainer, module: LightningModule) -> Iterator[str]:
    """Why a trainer and a module cannot train in two phases, each a sentence."""
    if not module.automatic_optimization:
        yield "HomeStretch works with automatic optimization: with manual optimization loop over epoch() yourself"
    for setting in _unsuitable(trainer, module):
        yield f"HomeStretch does not take {setting}"
    if isinstance(_optimizer(trainer), TwoPhase) and trainer.num_training_batches != 1 and _data_stay(trainer, module):
        yield (
            "the data must change at the swap: give the Trainer reload_dataloaders_every_n_epochs=1 and a PhasedData, or "
            "one batch with all the data from the start"
        )


def _data_stay(trainer: Trainer, module: LightningModule) -> bool:
    """Whether the batches will be the same after the swap: nobody is asked for other ones, or nobody could give them."""
    if _setting(trainer, "reload_dataloaders_every_n_epochs", 0) != 1:
        return True
    given_to_fit = _setting(trainer, "datamodule", None) is None and not is_overridden("train_dataloader", module)
    return given_to_fit and isinstance(trainer.train_dataloader, DataLoader)


def _unsuitable(trainer: Trainer, module: LightningModule) -> Iterator[str]:
    """What changes the loss, its gradient or the point behind a line search's back, each with the reason."""
    own_gradient = "a line search needs the loss's own gradient; clip it inside `first`"
    all_data = "after the swap a batch is all the data already"
    limit, averaging = trainer.limit_train_batches, (StochasticWeightAveraging, WeightAveraging)
    if trainer.gradient_clip_val:
        yield f"gradient_clip_val: {own_gradient}"
    if is_overridden("configure_gradient_clipping", module):
        yield f"a module with its own configure_gradient_clipping: {own_gradient}"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        yield 'gradients that are scaled (precision="16-mixed"): no line search fits them; use "bf16-mixed" or "32-true"'
    if trainer.accumulate_grad_batches != 1:
        yield f"accumulate_grad_batches: {all_data}"
    if (isinstance(limit, int) or limit < 1.0) and not _setting(trainer, "fast_dev_run", False):
        yield f"limit_train_batches={limit:g} (or overfit_batches): {all_data}; train on a smaller data set"
    if _counts_to_validation(trainer):
        yield (
            f"val_check_interval={trainer.val_check_interval}, more batches than an epoch has after the swap, which is one: "
            "leave it out and validate every check_val_every_n_epoch=1, or count over epochs with check_val_every_n_epoch=None"
        )
    for callback in _callbacks(trainer):
        if isinstance(callback, GradientAccumulationScheduler) and callback.going_to_accumulate_grad_batches():
            yield f"GradientAccumulationScheduler: {all_data}"
        if isinstance(callback, averaging):
            yield f"{type(callback).__name__}: it ends at an average of points, above the convex phase's last one"
    if trainer.world_size != 1:
        yield "several devices: use homestretch.Objective with its group, outside the Trainer"


def _counts_to_validation(trainer: Trainer) -> bool:
    """Whether Lightning would find, at the swap, too few batches in an epoch to reach a validation, and fail."""
    interval = trainer.val_check_interval
    counted = isinstance(interval, int) and interval > 1 and trainer.check_val_every_n_epoch is not None
    return counted and trainer.limit_val_batches > 0


def _warn_about_monitors(trainer: Trainer) -> None:
    """Warn if a callback seems to decide by what the module logs in training: that changes its meaning at the swap."""
    for callback in _callbacks(trainer):
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and not monitor.startswith(("homestretch/", "val")):
            warnings.warn(
                f"{type(callback).__name__} monitors {monitor!r}: what training_step logs is after the swap the mean over a "
                "line search's trials, no longer the epoch's loss: monitor 'homestretch/loss', or a value of the validation",
                HomestretchWarning,
                stacklevel=3,
            )


def _length(dataset: Any) -> int:
    return len(dataset)
