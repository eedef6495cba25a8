from __future__ import annotations

import pytest
import torch

from homestretch.decision import Decision
from homestretch.resort import Resort

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class ReturnAfter(Resort):
    """Goes back after a given number of steps of the convex phase, whatever they brought."""

    name = "return-after"

    def __init__(self, steps: int, retry_after: int | None = None) -> None:
        super().__init__(retry_after)
        self.steps = steps

    def judge(self, cost: float, loss: float, failure: str | None) -> Decision:
        return self.decide(self.memory.steps >= self.steps, f"{self.memory.steps} of {self.steps} steps")


@pytest.fixture
def return_after() -> type[ReturnAfter]:
    return ReturnAfter
