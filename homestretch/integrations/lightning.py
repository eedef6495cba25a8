"""Lightning: a data module and a callback, with the module's own ``training_step`` and automatic optimization.

Lightning gives an optimizer one closure a batch. That is what the first phase needs; the convex phase needs a closure over
all the data. :class:`PhasedData` hands Lightning mini-batches before the swap and all the data as one batch after it, so an
epoch is then one iteration; :class:`HomeStretch` closes epochs, so that the swap rule is asked, and says what happens.
"""

from __future__ import annotations

import functools
from typing import Any

from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from homestretch.history import EpochRecord, EventRecord
from homestretch.integrations.common import end_epoch, in_second_phase, is_ours, missing, step_with_call, warn_about_dropout
from homestretch.two_phase import TwoPhase

try:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
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
        """Loader for the phase that the trainer's optimizer is in; asked for again each epoch."""
        if self.trainer is not None and in_second_phase(_optimizer(self.trainer)):
            return DataLoader(self.dataset, batch_size=_length(self.dataset), shuffle=False, **self.options)
        return DataLoader(self.dataset, batch_size=self.batch_size, shuffle=True, **self.options)


class HomeStretch(Callback):
    """Closes the epochs of a :class:`~homestretch.TwoPhase`, says why it swaps, and ends training when the convex phase stops.

    Works with a single optimizer from ``configure_optimizers``, automatic optimization and one process. The epoch's loss,
    gradient norm and phase (1 or 2) are logged as ``homestretch/loss``, ``homestretch/gradient_norm``, ``homestretch/phase``.

    Attributes:
        stop: Why the convex phase ended training; empty if it did not.
    """

    def __init__(self) -> None:
        self.stop = ""
        self._told = 0  # records of the optimizer's history that were looked at

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what would break a line search, before any time is spent.

        Raises:
            ValueError: If the trainer clips gradients, accumulates them or runs several processes, or if the optimizer or the
                data do not fit.
        """
        optimizer = _optimizer(trainer)
        if not pl_module.automatic_optimization:
            raise ValueError(
                "HomeStretch works with automatic optimization: with manual optimization loop over epoch() yourself"
            )
        for wrong, setting in (
            (
                bool(trainer.gradient_clip_val),
                "gradient_clip_val: a line search needs the loss's own gradient; clip it inside `first`",
            ),
            (trainer.accumulate_grad_batches != 1, "accumulate_grad_batches: after the swap a batch is all the data already"),
            (trainer.world_size != 1, "several devices: use homestretch.Objective with its group, outside the Trainer"),
        ):
            if wrong:
                raise ValueError(f"Trainer with HomeStretch does not take {setting}")
        reloads = getattr(trainer, "reload_dataloaders_every_n_epochs", 0) == 1  # set by a connector, unseen by type checkers
        if isinstance(optimizer, TwoPhase) and trainer.num_training_batches != 1 and not reloads:
            raise ValueError(
                "the data must change at the swap: give the Trainer reload_dataloaders_every_n_epochs=1 and a PhasedData, or "
                "one batch with all the data from the start"
            )
        warn_about_dropout(pl_module)
        self._step = step = optimizer.step
        counted = functools.wraps(step)(lambda closure, **options: step_with_call(step, closure, **options))
        optimizer.step = counted  # type: ignore[method-assign]

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
        self.stop = end_epoch(optimizer)
        if isinstance(optimizer, TwoPhase):
            self._report(optimizer, pl_module)
        if self.stop:
            rank_zero_info(self.stop)
            trainer.should_stop = True

    def _report(self, optimizer: TwoPhase, pl_module: LightningModule) -> None:
        for record in optimizer.history[self._told :]:
            if isinstance(record, EventRecord):
                rank_zero_info(f"epoch {record.epoch}, {record.name}: {record.message}")
        self._told = len(optimizer.history)
        _, epoch = optimizer.history.last(EpochRecord)
        numbers = {"loss": epoch.loss, "gradient_norm": epoch.gradient_norm, "phase": 1.0 if epoch.phase == "first" else 2.0}
        pl_module.log_dict({f"homestretch/{name}": value for name, value in numbers.items()})


def _optimizer(trainer: Trainer) -> Optimizer:
    """The one optimizer of a trainer."""
    if len(trainer.optimizers) != 1 or not is_ours(trainer.optimizers[0]):
        found = ", ".join(type(o).__name__ for o in trainer.optimizers) or "none"
        raise ValueError(f"configure_optimizers must return one TwoPhase or one Descent, got {found}")
    return trainer.optimizers[0]


def _length(dataset: Any) -> int:
    return len(dataset)
