"""One mini-batch of the first phase as a torch closure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from homestretch.objective.dataset import Objective


class MiniBatch:
    """A torch closure for one mini-batch.

    Attributes:
        fraction: The share of the data set it covers: its weight in an average over the epoch.
    """

    def __init__(self, objective: Objective, batch: Any, fraction: float) -> None:
        self.fraction = fraction
        self._objective = objective
        self._batch = batch

    def __call__(self) -> Tensor:
        """The mean loss of the mini-batch as a 0-d tensor; fills ``.grad`` with its gradient."""
        objective = self._objective
        objective.zero_grad()
        with torch.enable_grad():
            loss = objective.batch_loss(self._batch)
            loss.backward()
        objective.meter.count_gradient(objective.portion * self.fraction)
        return loss.detach()
