"""Our passes over the data beside the loops that a user would write."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.overhead.cases import Case
from homestretch import Never, Objective, TwoPhase
from homestretch.objective.batches import TensorBatches

_RATE = 1e-3


def full_pass(case: Case, seed: int, repeats: int) -> dict[str, float]:
    """Time a pass of the objective with gradients, and the bare loop over the same micro-batches, in turn.

    Returns:
        `value`, the share that ours takes longer by, as the median over the turns; `seconds` of our pass; `bare_seconds`.
    """
    model, objective = case.build(seed, case.samples)
    assert isinstance(objective, Objective)
    inputs, targets = _tensors(objective)
    size = objective.batches.micro_batch  # type: ignore[attr-defined]
    return _in_turn(objective, lambda: bare_pass(model, inputs, targets, size), repeats)


def mini_batches(case: Case, seed: int, repeats: int) -> dict[str, float]:
    """Time an epoch of the first phase, and a bare loop of Adam over the same mini-batches, in turn.

    Returns:
        As :func:`full_pass`.
    """
    ours, objective = case.build(seed, case.samples)
    bare, other = case.build(seed, case.samples)
    assert isinstance(objective, Objective)
    assert isinstance(other, Objective)
    inputs, targets = _tensors(other)
    size = objective.batches.batch_size  # type: ignore[attr-defined]
    optimizer = TwoPhase(ours.parameters(), objective, first=torch.optim.Adam(ours.parameters(), lr=_RATE), rule=Never())
    adam = torch.optim.Adam(bare.parameters(), lr=_RATE)

    def epoch() -> None:
        for closure in optimizer.epoch():
            optimizer.step(closure)

    return _in_turn(epoch, lambda: bare_epoch(bare, adam, inputs, targets, size), repeats)


def bare_pass(model: nn.Module, inputs: Tensor, targets: Tensor, size: int) -> float:
    """Loss and gradient over all the data in pieces of `size`: as short as it can be written."""
    model.zero_grad()
    total = 0.0
    for start in range(0, len(inputs), size):
        x, t = inputs[start : start + size], targets[start : start + size]
        loss = mse_loss(model(x), t) * (len(x) / len(inputs))
        loss.backward()
        total += loss.item()
    return total


def bare_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, size: int) -> None:
    """One epoch of shuffled mini-batches: as short as it can be written."""
    order = torch.randperm(len(inputs))
    for start in range(0, len(inputs), size):
        chosen = order[start : start + size]
        optimizer.zero_grad()
        mse_loss(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()


def _tensors(objective: Objective) -> tuple[Tensor, Tensor]:
    batches = objective.batches
    assert isinstance(batches, TensorBatches)
    inputs, targets = batches.tensors
    return inputs, targets


def _in_turn(ours: Callable[[], object], bare: Callable[[], object], repeats: int) -> dict[str, float]:
    """Times of both, one after the other, so that a busy machine slows both; the first turn does not count."""
    times: list[tuple[float, float]] = []
    for turn in range(repeats + 1):
        pair = []
        for function in (ours, bare) if turn % 2 else (bare, ours):
            started = time.process_time()
            function()
            pair.append(time.process_time() - started)
        times.append((pair[0], pair[1]) if turn % 2 else (pair[1], pair[0]))
    kept = times[1:]
    return {
        "value": median(a / b - 1.0 for a, b in kept),
        "seconds": median(a for a, _ in kept),
        "bare_seconds": median(b for _, b in kept),
    }
