"""Adam's epochs, made once and shared: other recipes start from where their own swap rule would first act.

Adam's run keeps what its rule would have seen in each epoch, and its state after some of them. A recipe with the same first
phase replays its rule over these observations, and goes on from the last state before the rule acts: from there on
everything happens as if it had run by itself, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from homestretch import checkpoint
from homestretch.history import DecisionRecord, EpochRecord, History
from homestretch.paper import methods
from homestretch.paper.settings import Recipe
from homestretch.paper.task import Task
from homestretch.swap import Decision, Never, Observation, SwapRule
from homestretch.training import RECORD, Progress
from homestretch.two_phase import TwoPhase

__all__ = ["Keeper", "Watching", "graft"]

_STATES = "states"
_KEPT = 20  # states kept of a run


@dataclass
class Seen:
    """The observations so far, as plain data."""

    observations: list[dict[str, Any]] = field(default_factory=list)


class Watching(SwapRule):
    """Never swaps, and remembers all that it sees."""

    name = "watching"
    Memory = Seen
    memory: Seen

    def judge(self, observation: Observation) -> Decision:
        """Remember."""
        self.memory.observations.append(asdict(observation))
        return self.stay("this run keeps to its first phase")


class Keeper:
    """A callback that keeps Adam's state after some epochs, with what its rule has seen.

    Args:
        out: Folder of Adam's run.
        epochs: Epochs of the run.
        shares: Shares of the run after which recipes swap, whatever happens.
    """

    def __init__(self, out: Path, epochs: int, shares: Iterable[float]) -> None:
        self._out = out
        swaps = [math.ceil(share * epochs) for share in shares]
        step = max(1, epochs // _KEPT)
        self._epochs = {*range(step, epochs, step), *swaps, *(epoch - 1 for epoch in swaps), epochs} - {0}

    def __call__(self, progress: Progress) -> None:
        """Keep the state, if the epoch is one of those."""
        if progress.epoch not in self._epochs:
            return
        optimizer = progress.optimizer
        rule = optimizer.rule
        if not isinstance(rule, Watching):
            raise TypeError(f"Keeper goes with the rule Watching, got {type(rule).__name__}")
        content = {
            "model": [p.detach().clone() for group in optimizer.first.param_groups for p in group["params"]],
            "first": optimizer.first.state_dict(),
            "meter": optimizer.meter.state_dict(),
            "observations": rule.memory.observations,
        }
        checkpoint.save(self._out / _STATES / f"{progress.epoch:05d}", content)


def graft(adam: Path, task: Task, recipe: Recipe, budget: int, out: Path) -> int:
    """Make ``out`` a run of ``recipe`` that stands where Adam stood before the recipe's rule first acts.

    Args:
        adam: Folder of Adam's finished run.
        task: What is trained.
        recipe: A recipe with the same first phase.
        budget: Planned cost.
        out: Folder of the new run.

    Returns:
        The epoch from which it goes on; 0 if it has to begin from the start, and then nothing is written.
    """
    # A kill while a state was written leaves an empty folder, which is not made good where it was the last epoch's.
    kept = sorted(int(place.name) for place in (adam / _STATES).glob("[0-9]*") if checkpoint.present(place))
    if not kept:
        return 0
    observations = [Observation(**row) for row in checkpoint.load(adam / _STATES / f"{kept[-1]:05d}")["observations"]]
    last = _last_quiet(recipe, budget, observations)
    epoch = max((k for k in kept if k <= last), default=0)
    if epoch:
        content = checkpoint.load(adam / _STATES / f"{epoch:05d}")
        _write(content, observations[:epoch], History.read(adam / RECORD), task, recipe, budget, out)
    return epoch


def _last_quiet(recipe: Recipe, budget: int, observations: Sequence[Observation]) -> int:
    """The last epoch of the common part: the one before the rule wants to swap or to probe."""
    if methods.runs_alone(recipe):
        return math.ceil(recipe.swap_at * budget)
    rule = methods.make_rule(recipe)
    for observation in observations:
        decision = rule.observe(observation)
        if decision.swap or decision.probe:
            return observation.epoch - 1
    return len(observations)


def _write(
    content: dict[str, Any],
    observations: Sequence[Observation],
    known: History,
    task: Task,
    recipe: Recipe,
    budget: int,
    out: Path,
) -> None:
    """A checkpoint and a record of the recipe, as it would have written them by itself."""
    rule = Never() if methods.runs_alone(recipe) else methods.make_rule(recipe)
    objective = task.objective()
    for parameter, value in zip(objective.parameters, content["model"], strict=True):
        parameter.data.copy_(value)
    first = methods.make_first(recipe)(objective.parameters)
    optimizer = TwoPhase(
        objective.parameters, objective, first=first, rule=rule, resort=methods.make_resort(recipe), budget=float(budget)
    )
    first.load_state_dict(content["first"])
    optimizer.meter.load_state_dict(content["meter"])
    optimizer.epochs = optimizer.first_epochs = len(observations)
    history = History(out / RECORD)
    epochs = known.of(EpochRecord)
    for record, observation in zip(epochs, observations, strict=False):
        optimizer.resort.observe_first(observation.cost, observation.loss)
        decision = rule.observe(observation)
        optimizer.swap_reason = decision.reason  # which a run that begins with its last epoch would not have
        history.append(record)
        values = dict(decision.values)
        history.append(
            DecisionRecord(
                epoch=observation.epoch, swap=decision.swap, rule=decision.rule, reason=decision.reason, values=values
            )
        )
    state = {"model": task.model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": None}
    checkpoint.save(out, {**state, "records": len(history), "random": content["random"]})
