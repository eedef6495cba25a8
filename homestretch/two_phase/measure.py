"""Measure an epoch: its loss, the gradient norm that the swap rule watches, the gradient noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from homestretch import vectors
from homestretch.errors import UnsupportedError
from homestretch.objective import AnyObjective
from homestretch.objective.penalty import add_gradient_, penalty
from homestretch.swap import Observation
from homestretch.two_phase.hand_over import decays_of
from homestretch.two_phase.journal import write_epoch

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase


def measured_norm(optimizer: TwoPhase) -> float:
    """The gradient norm of the kind asked for; ``"probe"`` and ``"exact"`` evaluate the objective and count it.

    The gradient is that of what both phases minimise, a weight decay that belongs to it included.
    """
    objective, kind = optimizer.objective, optimizer.gradient_norm
    if kind == "running-mean" or objective is None:
        decayed, decays = decays_of(optimizer.first, optimizer.decoupled_decay)
        return optimizer.mean.norm(lambda mean: add_gradient_(mean, optimizer.trainable, decayed, decays))
    part = objective if kind == "exact" else part_of(objective, min(optimizer.probe_samples, objective.samples))
    optimizer.second_function(part)()
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in objective.parameters]
    norm = vectors.norm(vectors.locals_of(grads), vectors.shard_groups(objective.parameters))
    objective.zero_grad()
    return norm


def part_of(objective: AnyObjective, samples: int) -> AnyObjective:
    """A part of the data with about this many samples over all ranks; just as many where there is one."""
    group = getattr(objective, "group", None)
    return objective.subset(samples) if group is None else objective.part(samples / objective.samples)  # type: ignore[union-attr]


def check_told(optimizer: TwoPhase, loss: float | None) -> None:
    """Refuse the end of an epoch of which no loss is known.

    Raises:
        UnsupportedError: If none was given and the steps did not tell.
    """
    if loss is not None:
        return
    if optimizer.phase == "first" and not optimizer.mean.told:
        raise UnsupportedError(
            f"the loss of this epoch is not known, as {'some' if len(optimizer.mean) else 'no'} steps were made in it"
            f"{' without a loss' if len(optimizer.mean) else ''}: give end_epoch(loss=...), or give step() a closure that "
            "returns the loss"
        )
    if optimizer.phase == "second" and "loss" not in optimizer.second.scalars:
        raise UnsupportedError("end_epoch() came before the first step of the convex phase: call step(closure) in each epoch")


def observe(optimizer: TwoPhase, loss: float | None, gradient_norm: float | None, passes: float = 1.0) -> Observation:
    """Measure and record the epoch that has just ended.

    Args:
        optimizer: The optimizer at the end of the epoch.
        loss: The epoch's loss where the caller knows it.
        gradient_norm: Its gradient norm, likewise.
        passes: Passes over the data that it was.
    """
    objective, scale = optimizer.objective, None
    if optimizer.phase == "first":
        added = penalty(*decays_of(optimizer.first, optimizer.decoupled_decay))
        found = optimizer.mean.loss() + added if loss is None else float(loss)
        if gradient_norm is not None:
            norm, kind = float(gradient_norm), "given"
        else:
            kind = optimizer.gradient_norm
            norm = measured_norm(optimizer)
        scale = optimizer.mean.noise_scale(objective.samples if objective is not None else None)
    else:
        found = float(optimizer.second.scalars.get("loss", math.nan)) if loss is None else float(loss)
        norm, kind = float(optimizer.second.scalars.get("gradient_norm", math.nan)), "exact"
    write_epoch(optimizer, found, norm, kind)
    rate = optimizer.param_groups[0].get("lr")
    return Observation(
        epoch=optimizer.epochs,
        loss=found,
        gradient_norm=norm,
        gradient_norm_kind=kind,
        cost=optimizer.spent,
        budget=optimizer.budget,
        noise_scale=scale,
        samples=objective.samples if objective is not None else None,
        learning_rate=None if rate is None else float(rate),
        step=optimizer.first_steps,
        epoch_steps=round(len(optimizer.mean) / passes),
    )
