"""A full-batch method by itself: conjugate gradients without a first phase, or torch's L-BFGS from where Adam stands.

Neither is a second phase of :class:`~homestretch.two_phase.TwoPhase`: the one has no first phase, the other is no Descent.
Both are peers here, and get the same objective, counted by the same meter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from torch import Tensor
from torch.optim import Optimizer

from homestretch import vectors
from homestretch.descent import Descent
from homestretch.history import EpochRecord, History
from homestretch.objective.dataset import Objective
from homestretch.training import Callback, Progress

__all__ = ["descend"]


class _BudgetSpentError(Exception):
    """The budget is spent: ends a step of an optimizer that would go on."""


@dataclass
class _Watched:
    """The objective as a closure that keeps the best point and ends when the budget is spent.

    Torch's L-BFGS makes some 20 iterations a step, so this is the only place where its course can be seen and cut.
    """

    objective: Objective
    budget: float
    improved: Callable[[float, float], None]

    def __post_init__(self) -> None:
        self.lowest = float("inf")
        self.best: list[Tensor] = []

    def __call__(self) -> Tensor:
        meter = self.objective.meter
        if meter.gradient_equivalents >= self.budget * (1.0 - 1e-9):
            raise _BudgetSpentError
        loss = self.objective()
        if float(loss) < self.lowest:
            parameters = self.objective.parameters
            self.lowest = float(loss)
            self.best = vectors.clone(vectors.locals_of(parameters))
            grads = [p.grad for p in parameters if p.grad is not None]
            self.improved(self.lowest, vectors.norm(grads, []))
        return loss

    def restore(self) -> None:
        """Put the best point back."""
        if self.best:
            vectors.copy_(vectors.locals_of(self.objective.parameters), self.best)


def descend(
    objective: Objective,
    optimizer: Optimizer,
    history: History,
    *,
    budget: float,
    epochs: int | None = None,
    done: int = 0,
    save: Callable[[int], None] = lambda epoch: None,
    callbacks: Sequence[Callback] = (),
) -> tuple[int, str]:
    """Minimise until the budget is spent or ``epochs`` are made; every iteration becomes an epoch's record.

    A Descent may overspend by one evaluation. Torch's L-BFGS cannot be watched by iteration: its records are the
    evaluations that were better than all before, and it ends at the best point within the budget.

    Args:
        objective: What is minimised; its meter may have counted before.
        optimizer: A Descent or ``torch.optim.LBFGS``.
        history: Where the records go.
        budget: Gradient-equivalents at which to end.
        epochs: Epochs at which to end.
        done: Epochs made before.
        save: Called with the epoch after each iteration of a Descent.
        callbacks: Called after each epoch.

    Returns:
        Epochs made, and why it ended.
    """
    run = _Run(objective, optimizer, history, budget, epochs, done, callbacks)
    stop = run.iterate(optimizer, save) if isinstance(optimizer, Descent) else run.evaluate()
    return run.epoch, stop


@dataclass
class _Run:
    objective: Objective
    optimizer: Optimizer
    history: History
    budget: float
    epochs: int | None
    epoch: int
    callbacks: Sequence[Callback]

    def iterate(self, descent: Descent, save: Callable[[int], None]) -> str:
        """Step by step, the loop's own records copied."""
        copied = len(descent.history)
        while not (stop := self.why_stop(self.allowed(descent))):
            loss = descent.step(self.objective)
            for record in descent.history[copied:]:
                self.history.append(record)
            copied = len(descent.history)
            self.record(float(loss or 0.0), float(descent.scalars["gradient_norm"]))
            save(self.epoch)
        return stop

    def allowed(self, descent: Descent) -> Descent:
        """The method, let to spend what is left: one that an earlier, smaller budget has stopped goes on."""
        descent.allow(max(self.budget - self.objective.meter.gradient_equivalents, 0.0))
        return descent

    def evaluate(self) -> str:
        """Evaluation by evaluation, until the budget is spent or nothing changes any more."""
        watched = _Watched(self.objective, self.budget, self.record)
        parameters = vectors.locals_of(self.objective.parameters)
        try:
            moved = True
            while moved:
                before = vectors.clone(parameters)
                cast(Any, self.optimizer).step(watched)
                moved = any(not bool((a == b).all()) for a, b in zip(before, parameters, strict=True))
            stop = f"{type(self.optimizer).__name__} no longer moves"
        except _BudgetSpentError:
            stop = self.why_stop(None)
        watched.restore()
        self.objective.zero_grad()
        return stop

    def why_stop(self, descent: Descent | None) -> str:
        """Why it is over, empty while it is not."""
        if self.objective.meter.gradient_equivalents >= self.budget * (1.0 - 1e-9):
            return f"the budget of {self.budget:g} gradient-equivalents is spent"
        if self.epochs is not None and self.epoch >= self.epochs:
            return f"all {self.epochs} epochs are made"
        if descent is not None and descent.stop_reason is not None:
            return f"the convex phase stopped: {descent.stop_reason.value}"
        return ""

    def record(self, loss: float, norm: float) -> None:
        """Add an epoch of the convex phase."""
        meter = self.objective.meter
        self.epoch += 1
        record = EpochRecord(
            epoch=self.epoch,
            phase="second",
            loss=loss,
            gradient_norm=norm,
            gradient_norm_kind="exact",
            gradient_equivalents=meter.gradient_equivalents,
            seconds=meter.seconds,
        )
        self.history.append(record)
        shown = SimpleNamespace(first=None, second=self.optimizer, history=self.history)
        for callback in self.callbacks:
            callback(Progress(self.epoch, self.epochs, self.budget, record, cast(Any, shown)))
