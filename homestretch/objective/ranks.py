"""Ranks that each hold a part of the data: sums over them, and whose gradients are whose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Group = dist.ProcessGroup | None
_ALIKE = 1e-9  # relative difference of norms up to which parameters are the same, computed on unlike devices


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


def of_each(value: float, group: Group, device: torch.device) -> list[float]:
    """A number of each rank of a group, the same list on all of them; one process alone is rank 0."""
    if group is None:
        return [value]
    slots = [0.0] * dist.get_world_size(group)
    slots[dist.get_rank(group)] = value
    return sums(slots, group, device)


def ranks_where(condition: bool, group: Group, device: torch.device) -> list[int]:
    """The ranks of a group on which a condition holds, the same list on all of them; one process alone is rank 0."""
    return [rank for rank, flag in enumerate(of_each(float(condition), group, device)) if flag]


@contextmanager
def together(work: str, group: Group, device: torch.device) -> Iterator[None]:
    """Raise an error of one rank on all of them: the others would wait for it in their next sum.

    Args:
        work: What is done here, for the other ranks' message.
        group: The group; without one nothing is caught.
        device: As in :func:`sums`.

    Raises:
        ValueError: On the ranks where all went well, with those where it did not.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        if group is None:
            raise
        error.add_note(f"on rank {dist.get_rank(group)} of {dist.get_world_size(group)}")
        own = error
    failed = ranks_where(own is not None, group, device)
    if own is not None:
        raise own
    if failed:
        raise ValueError(f"{work} failed on {named(failed)}: that output says why, and what to do")


def named(ranks: Sequence[int]) -> str:
    """Some ranks in words."""
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


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


def group_of(model: nn.Module) -> Group:
    """The ranks over which the model's wrapper (DDP, FSDP2) averages gradients, if there is one and they make up one axis."""
    if isinstance(model, DistributedDataParallel):
        return model.process_group
    meshes = [p.device_mesh for p in model.parameters() if hasattr(p, "device_mesh")] if averages_always(model) else []
    return meshes[0].get_group() if meshes and meshes[0].ndim == 1 else None


def averages_always(model: nn.Module) -> bool:
    """Whether every backward pass brings the ranks together and leaves averages, as FSDP2's do, whose passes are all common."""
    return any(_shards(module) for module in model.modules())


def refuse_uneven(pieces: int, group: Group, device: torch.device) -> None:
    """Refuse full passes in which the ranks of a sharded model would wait for each other.

    Raises:
        ValueError: On all ranks, if they have different numbers of micro-batches.
    """
    found = [int(n) for n in of_each(float(pieces), group, device)]
    if len(set(found)) > 1:
        raise ValueError(
            f"data: the ranks have {', '.join(map(str, found))} micro-batches, and a sharded model needs as many on all: give "
            "every rank as many samples, or a micro_batch that makes as many of them"
        )


def refuse_unlike(model: nn.Module, parameters: Sequence[Tensor], group: Group) -> None:
    """Refuse copies of a model that differ: every rank would add a gradient of another place, and none would notice.

    Raises:
        ValueError: On all ranks, unless the model's own wrapper has seen to it that they are alike, or holds shards.
    """
    if group is None or reduces_gradients(model):
        return
    norm = torch.stack(torch._foreach_norm([p.detach() for p in parameters])).double().norm()
    norms = of_each(float(norm), group, parameters[0].device)
    if max(norms) - min(norms) > _ALIKE * max(norms):
        raise ValueError(
            f"model: its parameters differ from rank to rank (norms {', '.join(f'{n:.6g}' for n in norms)}), and they "
            "must begin with the same ones: call torch.manual_seed with one seed before the model is made, load one state on "
            "all, or wrap it in torch.nn.parallel.DistributedDataParallel"
        )


def reduces_gradients(model: nn.Module) -> bool:
    """Whether the model's own wrapper (DDP, FSDP) brings the gradients of the ranks together in a backward pass."""
    return callable(getattr(model, "no_sync", None)) or any(hasattr(p, "to_local") for p in model.parameters())


def reshard(model: nn.Module) -> None:
    """Give up what FSDP2 has gathered for a forward pass: it would stand in place of parameters that are changed later."""
    for module in model.modules():
        if _shards(module):
            module.reshard()  # type: ignore[operator]  # FSDP2's


def _shards(module: nn.Module) -> bool:
    """Whether a module is one of FSDP2's, told by its methods: importing it takes long."""
    return callable(getattr(module, "reshard", None)) and hasattr(module, "unshard")
