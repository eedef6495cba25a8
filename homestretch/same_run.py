"""What a resumed run must have in common with the one it goes on with, beside model, optimizers and rule, whose states tell."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch.errors import CheckpointError
from homestretch.objective import AnyObjective, Objective
from homestretch.objective.batches import TensorBatches

Traits = dict[str, Any]
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the size of an entry


def traits(objective: AnyObjective, first: Optimizer) -> Traits:
    """What decides the course of a run, by argument, in types that a checkpoint holds.

    ``micro_batch`` is not among it: it is what is lowered when memory runs out, and changes the loss by rounding alone.

    Args:
        objective: The function; of residuals nothing is told, as their points may be drawn anew.
        first: The first optimizer as it was made, before any schedule.
    """
    found: Traits = {"first": type(first).__name__}
    for number, group in enumerate(first.param_groups):
        place = "first" if len(first.param_groups) == 1 else f"first, group {number}"
        found |= {f"{place}: {name}": value for name, value in _settings(group).items()}
    if isinstance(objective, Objective):
        found |= {"seed": objective.seed, "batch_size": objective.batches.batch_size, "samples": objective.samples}
        found |= {"mode": objective.mode, "dropout": objective.dropout}
        if isinstance(objective.batches, TensorBatches) and objective.group is None:
            found |= {"data": checksum(objective.batches.tensors), "data in all": bit_sum(objective.batches.tensors)}
    return found


def refuse_another(saved: Mapping[str, Any], given: Traits, folder: object) -> None:
    """Compare what a checkpoint was written with and what it is read with.

    Raises:
        CheckpointError: If they differ, with every argument that does.
    """
    if saved.get("first") != given["first"]:
        return  # another class has other settings, and is refused by name with its state
    changed = [name for name in given if name in saved and saved[name] != given[name]]
    if not changed:
        return
    sums = {"data", "data in all"}
    texts = [f"{name} was {saved[name]} and is {given[name]}" for name in changed if name not in sums]
    texts += ["data of the same size hold other values"] if sums & set(changed) and "samples" not in changed else []
    raise CheckpointError(
        f"the checkpoint in {folder} is that of another run: {'; '.join(texts)}. Only epochs and budget may be raised: resume "
        "with the arguments that it was written with, or begin anew in another folder"
    )


def checksum(tensors: tuple[Tensor, ...]) -> int:
    """A number that tells data apart: CRC-32 over the first and the last sample of each tensor, whatever its device."""
    number = 0
    for tensor in tensors:
        ends = tensor[[0, -1]].detach().cpu().contiguous()
        number = zlib.crc32(ends.flatten().view(torch.uint8).numpy().tobytes(), number)
    return number


def bit_sum(tensors: tuple[Tensor, ...]) -> int:
    """Another such number, over all samples but blind to their order: the sum of their bits as integers, where they lie."""
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    return sum(int(t.detach().view(_INTEGERS[t.element_size()]).sum(dtype=torch.int64)) for t in real)


def _settings(group: dict[str, Any]) -> Traits:
    """The plain values among a parameter group's settings; what torch adds to pick an implementation decides nothing."""
    passed = ("params", "foreach", "fused", "capturable", "differentiable", "initial_lr")
    plain = {name: _plain(value) for name, value in group.items() if name not in passed and not name.endswith("_names")}
    return {name: value for name, value in plain.items() if isinstance(value, (bool, int, float, str, list))}


def _plain(value: Any) -> Any:
    """Numbers as Python's, pairs of them as lists."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
