"""One mini-batch of the first phase as a torch closure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from homestretch.objective.ranks import reduces_gradients, sum_gradients

if TYPE_CHECKING:
    from homestretch.objective.dataset import Objective


class MiniBatch:
    """A torch closure for one mini-batch.

    Attributes:
        fraction: The share of this rank's data that it covers, which is its cost: ranks work side by side.
        epoch_weight: Its weight in an average over the epoch: the share of all data that it covers.
    """

    def __init__(self, objective: Objective, batch: Any, fraction: float, epoch_weight: float) -> None:
        self.fraction = fraction
        self.epoch_weight = epoch_weight
        self._objective = objective
        self._batch = batch

    def __call__(self) -> Tensor:
        """The mean loss of the mini-batch as a 0-d tensor; fills ``.grad`` with its gradient."""
        objective = self._objective
        objective.zero_grad()
        with torch.enable_grad():
            loss = objective.batch_loss(self._batch)
            loss.backward()
        if objective.group is not None and not reduces_gradients(objective.model):
            sum_gradients(objective.parameters, objective.group, 1.0 / dist.get_world_size(objective.group))
        objective.meter.count_gradient(objective.portion * self.fraction)
        return loss.detach()
