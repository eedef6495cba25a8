"""Ranks that each hold a part of the data: sums over them, and whose gradients are whose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Group = dist.ProcessGroup | None


def sums(values: Sequence[float], group: Group, device: torch.device) -> list[float]:
    """The sum of each number over the ranks of a group, the same bits on all of them; the numbers themselves without one.

    Args:
        values: Numbers of this rank.
        group: The group.
        device: Where the parameters are, which is where some backends communicate.
    """
    if group is None:
        return list(values)
    buffer = torch.tensor(list(values), dtype=torch.float64)
    if "nccl" in dist.get_backend(group):
        buffer = buffer.to(device)
    dist.all_reduce(buffer, group=group)
    return buffer.tolist()


def sum_gradients(parameters: Sequence[Tensor], group: Group, factor: float = 1.0) -> None:
    """Replace each gradient by its sum over the ranks of a group, times ``factor``."""
    if group is None:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        dist.all_reduce(p.grad, group=group)
        if factor != 1.0:
            p.grad.mul_(factor)


def reduces_gradients(model: nn.Module) -> bool:
    """Whether the model's own wrapper (DDP, FSDP) brings the gradients of the ranks together in a backward pass."""
    return callable(getattr(model, "no_sync", None)) or any(isinstance(p, DTensor) for p in model.parameters())


def reshard(model: nn.Module) -> None:
    """Give up what FSDP2 has gathered for a forward pass: it would stand in place of parameters that are changed later."""
    for module in model.modules():
        give_up = getattr(module, "reshard", None)
        if callable(give_up) and hasattr(module, "unshard"):
            give_up()
