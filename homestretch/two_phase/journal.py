"""What a TwoPhase writes into its history: decisions, events, the iterations of the convex phase."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from homestretch.decision import Decision
from homestretch.history import DecisionRecord, EpochRecord, EventRecord
from homestretch.objective import living
from homestretch.two_phase.averages import averaged_weights

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase


def write_epoch(optimizer: TwoPhase, loss: float, norm: float, kind: str) -> None:
    """Record the epoch that has just ended, with the user's metrics."""
    with averaged_weights(optimizer.first) if optimizer.phase == "first" and optimizer.metrics else nullcontext():
        metrics = measured(optimizer)
    if optimizer.growing is not None and optimizer.phase == "second":
        metrics["samples"] = float(optimizer.growing.samples)
    # What the objective knows of the epoch; the first phase evaluates it without the weight decay.
    own = optimizer.mean.loss() if optimizer.phase == "first" else loss
    metrics = {**living.measure(optimizer.objective, own), **metrics}
    rate = optimizer.param_groups[0].get("lr")
    if rate is not None and optimizer.phase == "first":
        metrics["learning_rate"] = float(rate)
    optimizer.history.append(
        EpochRecord(
            epoch=optimizer.epochs,
            phase=optimizer.phase,
            loss=loss,
            gradient_norm=norm,
            gradient_norm_kind=kind,
            gradient_equivalents=optimizer.spent,
            seconds=optimizer.seconds,
            metrics=metrics,
        )
    )


def measured(optimizer: TwoPhase) -> dict[str, float]:
    """What the user's metrics are at the present point.

    Raises:
        TypeError: If they are not returned by name.
    """
    found: Any = {} if optimizer.metrics is None else optimizer.metrics()
    if not isinstance(found, Mapping):
        raise TypeError(f"metrics must return numbers by name, such as {{'accuracy': 0.9}}, got {type(found).__name__}")
    return dict(found)


def write_decision(optimizer: TwoPhase, decision: Decision) -> None:
    """Record what a rule or the resort decided."""
    optimizer.history.append(
        DecisionRecord(
            epoch=optimizer.epochs,
            swap=decision.swap,
            rule=decision.rule,
            reason=decision.reason,
            values=dict(decision.values),
        )
    )


def write_event(optimizer: TwoPhase, name: str, message: str, values: Mapping[str, float]) -> None:
    """Record something that happened once."""
    optimizer.history.append(EventRecord(epoch=optimizer.epochs, name=name, message=message, values=dict(values)))


class Iterations:
    """Copies the convex phase's own records into the run's, each once."""

    def __init__(self) -> None:
        self._copied = 0

    def copy(self, optimizer: TwoPhase) -> None:
        """Append what is new in the history of the convex phase."""
        records = optimizer.second.history
        for record in records[self._copied :]:
            spent = record.gradient_equivalents - optimizer.before[0]  # the method knows the meter, not the run
            optimizer.history.append(replace(record, gradient_equivalents=spent) if optimizer.before[0] else record)
        self._copied = len(records)
