"""Measure the gradient norm that the swap rule watches."""

from __future__ import annotations

import torch

from homestretch import vectors
from homestretch.objective.dataset import Objective
from homestretch.two_phase.gradient_norm import RunningMean


def measured_norm(kind: str, mean: RunningMean, objective: Objective | None, probe_samples: int) -> float:
    """The gradient norm of the kind asked for; ``"probe"`` and ``"exact"`` evaluate the objective and count it."""
    if kind == "running-mean" or objective is None:
        return mean.norm()
    function = objective if kind == "exact" else objective.subset(min(probe_samples, objective.samples))
    function()
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in objective.parameters]
    norm = vectors.norm(vectors.locals_of(grads), vectors.shard_groups(objective.parameters))
    objective.zero_grad()
    return norm
