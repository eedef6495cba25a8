"""One mini-batch of the first phase as a torch closure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from homestretch.objective.batches import Batches, steps
from homestretch.objective.modes import single_samples_explained
from homestretch.objective.ranks import reduces_gradients, sum_gradients, sums

if TYPE_CHECKING:
    from homestretch.objective.dataset import Objective


class MiniBatch:
    """A torch closure for one mini-batch.

    Attributes:
        fraction: The share of the data that it covers, which is its cost; on several ranks the mean over them and the epoch,
            so that all count the same.
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
        with torch.enable_grad(), single_samples_explained(self._single_sample):
            loss = objective.batch_loss(self._batch)
            objective.look_for_strangers(loss)
            loss.backward()
        if objective.group is not None and not reduces_gradients(objective.model):
            sum_gradients(objective.parameters, objective.group, 1.0 / dist.get_world_size(objective.group))
        objective.meter.count_gradient(objective.portion * self.fraction)
        return loss.detach()

    def _single_sample(self) -> str:
        batches = self._objective.batches
        return (
            f"batch_size: batch norm cannot normalise a mini-batch of one sample, and {len(batches)} samples at batch_size="
            f"{batches.batch_size} make one: give another batch_size, or a DataLoader with drop_last=True"
        )


def share_of_a_step(batches: Batches, group: dist.ProcessGroup, device: torch.device) -> float:
    """What a mini-batch costs, as a share of the data: the mean over an epoch and the ranks, which is the same on all of them.

    Raises:
        ValueError: If the ranks have different numbers of mini-batches: they would wait for each other.
    """
    own, ranks = steps(batches), dist.get_world_size(group)
    covered = min(own * batches.batch_size, len(batches)) / len(batches)
    total, squares, shares = sums([own, own**2, covered], group, device)
    if ranks * squares != total**2:
        raise ValueError(
            f"data: this rank has {own} mini-batches of {batches.batch_size} and the mean over the ranks is "
            f"{total / ranks:g}: give every rank as many samples, or a batch_size that makes as many mini-batches"
        )
    return shares / max(total, 1.0)
