"""The first phase of a cell and seed: run once, recorded, and made again up to the epochs at which something swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.swap.cells import Cell, Setting
from homestretch import Growth, Never, NoResort, Objective, TwoPhase
from homestretch.decision import Decision
from homestretch.history import EpochRecord
from homestretch.swap import Observation, SwapRule

Record = dict[str, Any]


class Recorder(Never):
    """Never swaps, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> Decision:
        """Keep it and stay."""
        self.seen.append(observation)
        return super().observe(observation)


class Training:
    """A cell under way.

    Args:
        cell: the cell.
        seed: its seed.
        cosine: whether the learning rate falls to zero over the budget.
        growth: how the data of the second phase grow, where they are samples.
        options: arguments of `TwoPhase`.
    """

    def __init__(self, cell: Cell, seed: int, *, cosine: bool = False, growth: Growth | None = None, **options: Any) -> None:
        self.cell = cell
        self.setting: Setting = cell.make(seed)
        if isinstance(self.setting.objective, Objective):
            self.setting.objective.growth = growth
        model = self.setting.model
        first = Adam(model.parameters(), lr=cell.learning_rate)
        self.optimizer = TwoPhase(
            model.parameters(),
            self.setting.objective,  # type: ignore[arg-type]
            first=first,
            budget=cell.budget,
            **options,
        )
        self.schedule = LambdaLR(first, lambda epoch: cell.factor(epoch, cosine=cosine))

    @property
    def cost(self) -> float:
        """Gradient-equivalents so far."""
        return self.optimizer.meter.gradient_equivalents

    def epoch(self) -> None:
        """One epoch of the first phase, or one iteration of the second."""
        was_first = self.optimizer.phase == "first"
        for closure in self.optimizer.epoch():
            self.optimizer.step(closure)
        if was_first:
            self.schedule.step()

    def measure(self) -> dict[str, float | None]:
        """Loss over all the data and published error here; not counted."""
        meter = self.setting.objective.meter
        before = meter.state_dict()
        loss = self.setting.objective.loss()
        meter.load_state_dict(before)
        return {"loss": loss, "error": self.error()}

    def error(self) -> float | None:
        """The published error here, where the problem has one."""
        return self.setting.error() if self.setting.error is not None else None

    def state(self) -> dict[str, Any]:
        """Model, optimizer and schedule."""
        parts = {"model": self.setting.model, "optimizer": self.optimizer, "schedule": self.schedule}
        return {name: part.state_dict() for name, part in parts.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.setting.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def first_phase(cell: Cell, seed: int) -> Record:
    """The whole budget spent on Adam: every observation, and the end."""
    recorder = Recorder()
    training = Training(cell, seed, rule=recorder, resort=NoResort())
    for _ in range(cell.epochs):
        training.epoch()
    return {
        "observations": [asdict(observation) for observation in recorder.seen],
        "seconds": [record.seconds for record in training.optimizer.history.of(EpochRecord)],
        "end": training.measure(),
        "gradient_equivalents": training.cost,
        "evaluations": training.optimizer.meter.evaluations,
        "parameters": sum(p.numel() for p in training.setting.model.parameters()),
    }


def replay(record: Record, rule: SwapRule) -> tuple[int, str] | None:
    """The epoch after which a rule would have swapped, and its reason; `None` if it would not."""
    for fields in record["observations"]:
        decision = rule.observe(Observation(**fields))
        if decision.swap:
            return int(fields["epoch"]), decision.reason
    return None


def epoch_of_share(cell: Cell, share: float) -> int:
    """The epoch nearest to a share of the budget, at least the first."""
    return max(round(share * cell.epochs), 1)


def checkpoints(cell: Cell, seed: int, epochs: Sequence[int], folder: Path) -> dict[int, Path]:
    """States of the first phase after the given epochs, as files.

    Those that are missing are made by one more run of it, from the last state before them.
    """
    paths = {epoch: folder / f"epoch-{epoch}.pt" for epoch in epochs}
    missing = [epoch for epoch, path in paths.items() if not path.exists()]
    if not missing:
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    training = Training(cell, seed, rule=Never(), resort=NoResort())
    known = {int(path.stem.removeprefix("epoch-")): path for path in folder.glob("epoch-*.pt")}
    begin = max((epoch for epoch in known if epoch < min(missing)), default=0)
    if begin:
        training.load(torch.load(known[begin], weights_only=True))
    for epoch in range(begin + 1, max(missing) + 1):
        training.epoch()
        if epoch in missing:
            draft = paths[epoch].with_suffix(".draft")
            torch.save(training.state(), draft)
            draft.replace(paths[epoch])
    return paths
