"""Batch norm's running statistics, estimated anew from all the data at one point."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from homestretch.objective.modes import in_training
from homestretch.objective.ranks import sums

Layer = tuple[_BatchNorm, Tensor, Tensor]


def tracking_layers(model: nn.Module) -> list[Layer]:
    """The batch norms whose running statistics move in training, with their mean and variance; frozen ones are none."""
    found = []
    for module, trains in in_training(model):
        if trains and isinstance(module, _BatchNorm) and module.track_running_stats:
            mean, variance = module.running_mean, module.running_var
            if mean is not None and variance is not None:
                found.append((module, mean, variance))
    return found


@torch.no_grad()
def reestimate(
    model: nn.Module, batches: Iterable[tuple[Any, int]], forward: Callable[[Any], Any], group: dist.ProcessGroup | None = None
) -> int:
    r"""Replace the running statistics by those of the data at the present parameters.

    Each micro-batch is normalised by its own statistics, and these are averaged, weighted by the samples, as in algorithm 2
    of Ioffe and Szegedy (2015): :math:`\mathrm{E}[x] = \mathrm{E}_B[\mu_B]`, :math:`\mathrm{Var}[x] = \mathrm{E}_B[\sigma_B^2]`
    with the unbiased :math:`\sigma_B^2`. Everything else is in eval mode: no dropout.

    Args:
        model: The model, changed in its batch norms' buffers only.
        batches: Micro-batches with their numbers of samples. One of a single sample is passed over if a layer cannot
            normalise it.
        forward: Runs the model on a batch.
        group: Ranks that each hold a part of the data: their statistics are averaged, weighted by the samples.

    Returns:
        How many samples the statistics are of, on all ranks together.

    Raises:
        ValueError: If that is none.
    """
    layers = tracking_layers(model)
    if not layers:
        return 0
    seen = 0
    with _only_training(model, [layer for layer, _, _ in layers]) as set_momentum:
        for batch, count in batches:
            set_momentum(count / (seen + count))
            before = [t.clone() for layer in layers for t in layer[1:]] if count < 2 else []
            try:
                forward(batch)
            except ValueError:  # torch's, where a channel has one value
                if count > 1:
                    raise
                for t, old in zip((t for layer in layers for t in layer[1:]), before, strict=True):
                    t.copy_(old)
            else:
                seen += count
    total = int(sums([seen], group, layers[0][1].device)[0])
    if not total:
        raise ValueError("micro_batch: the batch norms cannot normalise samples one by one; make it 2 or more")
    if group is not None:
        _average(layers, seen, total, group)
    return total


def _average(layers: list[Layer], seen: int, total: int, group: dist.ProcessGroup) -> None:
    """Average the statistics over ranks, by the samples that each has seen."""
    for _, mean, variance in layers:
        for buffer in (mean, variance):
            buffer.mul_(seen / total)
            dist.all_reduce(buffer, group=group)


@contextmanager
def _only_training(model: nn.Module, layers: list[_BatchNorm]) -> Any:
    """Training mode for these layers alone; yields what sets their momentum. Flags and momenta are restored."""
    flags = [(m, m.training) for m in model.modules()]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()

    def set_momentum(value: float) -> None:
        for layer in layers:
            layer.momentum = value

    try:
        yield set_momentum
    finally:
        for module, training in flags:
            module.training = training
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
