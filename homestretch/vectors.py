"""Algebra on lists of tensors: the parameter space of a model, never flattened.

A vector is a list with one tensor for each parameter. Keeping the list is what lets parameter groups, frozen
parameters, mixed devices and sharded tensors work. This module is the only one that knows about ranks and shards:
every inner product is summed over the ranks that hold different shards, all products of one call in one all-reduce,
so that each rank takes the same decisions from the same numbers.

Inner products are accumulated in float64. Where that would cost more than the product itself (long float32 vectors on the
processor) or is not to be had (some devices), only over short pieces of the vectors: inside them in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch._utils import _flatten_dense_tensors

Vector = list[Tensor]

_SMALL = 131_072  # entries up to which a vector on the CPU is packed for an inner product
_PIECE = 16_384  # entries up to which one is converted to float64; of a longer one so many are added in float32
_IN_BLAS = (torch.float32, torch.float64)
_FLOOR = 1e-25  # products below some 1e-38 are lost in float32: of a sum this small they may be a part that counts
_CHUNK = 4096  # elements that a device without float64 adds in float32 before the host takes over
_RANGE_OF_ALL = torch.finfo(torch.float16).max  # within it a number can be held in every dtype


def local(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` that this rank holds: itself, or the local shard of a distributed tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[attr-defined]


def locals_of(tensors: Sequence[Tensor]) -> Vector:
    """The local parts of all ``tensors``, detached, as plain tensors that share their memory."""
    return [local(t.detach()) for t in tensors]


def shard_groups(tensors: Sequence[Tensor]) -> list[dist.ProcessGroup]:
    """The process groups over which inner products of ``tensors`` must be summed (none if nothing is sharded).

    Raises:
        ValueError: If some tensors are sharded over another mesh than others, or one is a partial sum.
    """
    found: dict[tuple[int, ...], list[dist.ProcessGroup]] = {}
    for t in tensors:
        mesh = getattr(t, "device_mesh", None)
        placements = getattr(t, "placements", ())
        if any(p.is_partial() for p in placements):
            raise ValueError("a parameter is a partial sum over ranks: redistribute it before optimising")
        dims = tuple(i for i, p in enumerate(placements) if p.is_shard())
        groups = [mesh.get_group(i) for i in dims] if mesh is not None else []
        found[tuple(id(g) for g in groups)] = groups
    if len(found) > 1:
        raise ValueError("all parameters must be sharded over the same mesh dimensions, or none of them")
    return next(iter(found.values()), [])


def dots(pairs: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]], groups: Sequence[dist.ProcessGroup] = ()) -> list[float]:
    r"""Inner products :math:`\langle a_k, b_k \rangle = \sum_i \sum_j a_{k,i,j} b_{k,i,j}` of several pairs of vectors.

    Args:
        pairs: Pairs of vectors of local tensors with equal shapes.
        groups: Process groups to sum over, from :func:`shard_groups`. One all-reduce carries all products.

    Returns:
        One float64 number a pair, the same on every rank.
    """
    sums = _local_dots(pairs)
    if not groups:
        return sums
    return sum_over_ranks(torch.tensor(sums, dtype=torch.float64), groups, pairs[0][0]).tolist()


def sum_over_ranks(values: Tensor, groups: Sequence[dist.ProcessGroup], like: Sequence[Tensor]) -> Tensor:
    """The sum of ``values`` (float64, on the host) over the ranks of every group; ``like`` tells the device to use."""
    for group in groups:
        buffer = values.to(_communication_device(group, like))
        dist.all_reduce(buffer, group=group)
        values = buffer.cpu()
    return values


def dot(a: Sequence[Tensor], b: Sequence[Tensor], groups: Sequence[dist.ProcessGroup] = ()) -> float:
    """Inner product of two vectors; see :func:`dots`."""
    return dots([(a, b)], groups)[0]


def norm(a: Sequence[Tensor], groups: Sequence[dist.ProcessGroup] = ()) -> float:
    """Euclidean norm over all entries of all tensors."""
    return math.sqrt(max(dot(a, a, groups), 0.0)) if a else 0.0


def max_abs(a: Sequence[Tensor], groups: Sequence[dist.ProcessGroup] = ()) -> float:
    """Largest absolute entry, over all tensors and ranks; NaN if one is."""
    found = [float(t.abs().max()) for t in a if t.numel()]
    # Neither Python's max nor a reduction over ranks lets NaN win, so whether there is one goes beside the largest.
    largest = max((v for v in found if not math.isnan(v)), default=0.0)
    unknown = any(math.isnan(v) for v in found)
    for group in groups:
        buffer = torch.tensor([largest, unknown], dtype=torch.float64).to(_communication_device(group, a))
        dist.all_reduce(buffer, op=dist.ReduceOp.MAX, group=group)
        largest, unknown = buffer.tolist()
    return math.nan if unknown else largest


def clone(a: Sequence[Tensor]) -> Vector:
    """A copy of a vector."""
    return [t.detach().clone() for t in a]


def zeros_like(a: Sequence[Tensor]) -> Vector:
    """A zero vector of the same shapes."""
    return [torch.zeros_like(t) for t in a]


def copy_(target: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    """Overwrite ``target`` with ``source``."""
    if target:
        torch._foreach_copy_(list(target), list(source))


def scale_(a: Sequence[Tensor], factor: float) -> None:
    """Multiply in place: ``a *= factor``."""
    if a:
        torch._foreach_mul_(list(a), factor)


def add_(a: Sequence[Tensor], b: Sequence[Tensor], factor: float = 1.0) -> None:
    """Add in place: ``a += factor * b``.

    A factor beyond the range of the vectors' dtype, as goes with a vector that has all but vanished in float32, is taken in
    two; what overflows all the same is infinite.
    """
    if not a:
        return
    largest = _largest_factor(factor, a)
    if abs(factor) > largest:
        root = min(math.sqrt(abs(factor)), largest)
        torch._foreach_add_(list(a), torch._foreach_mul(list(b), math.copysign(root, factor)), alpha=root)
    else:
        torch._foreach_add_(list(a), list(b), alpha=factor)


def subtract(a: Sequence[Tensor], b: Sequence[Tensor]) -> Vector:
    """The difference ``a - b``."""
    return list(torch._foreach_sub(list(a), list(b))) if a else []


def multiply(a: Sequence[Tensor], b: Sequence[Tensor]) -> Vector:
    """The entrywise product ``a * b``."""
    return list(torch._foreach_mul(list(a), list(b))) if a else []


def negative(a: Sequence[Tensor]) -> Vector:
    """The vector ``-a``."""
    return list(torch._foreach_neg(list(a))) if a else []


def assign_sum_(target: Sequence[Tensor], start: Sequence[Tensor], direction: Sequence[Tensor], step: float) -> None:
    """Set ``target = start + step * direction``: a point on a line, always computed from its start; any step."""
    copy_(target, start)
    add_(target, direction, step)


def _largest_factor(step: float, vector: Sequence[Tensor]) -> float:
    """The largest number that every tensor's dtype can hold; infinite where the step is in the range of all dtypes."""
    if not _RANGE_OF_ALL < abs(step) < math.inf:
        return math.inf
    return min(torch.finfo(tensor.dtype).max for tensor in vector)


def sharded_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A local tensor as the shard of a tensor that is distributed like ``parameter``; itself if that is not sharded.

    The tensor may have leading dimensions that the parameter lacks, as a stack of vectors has.
    """
    if not hasattr(parameter, "to_local") or hasattr(tensor, "to_local"):
        return tensor
    from torch.distributed.tensor import DTensor, Shard

    leading = tensor.ndim - parameter.ndim
    placements = [Shard(p.dim + leading) if isinstance(p, Shard) else p for p in parameter.placements]  # type: ignore[attr-defined]
    shape = torch.Size((*tensor.shape[:leading], *parameter.shape))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        tensor,
        parameter.device_mesh,  # pyrefly: ignore[missing-attribute]
        placements,
        run_check=False,
        shape=shape,
        stride=stride,  # type: ignore[attr-defined]
    )


def size(a: Sequence[Tensor]) -> int:
    """Number of entries."""
    return sum(t.numel() for t in a)


def pack(a: Sequence[Tensor]) -> Tensor:
    """One flat tensor with all entries in order, for dense methods.

    Raises:
        ValueError: If the tensors lie on several devices or have several dtypes.
    """
    if len({(t.device, t.dtype) for t in a}) > 1:
        raise ValueError("dense methods need all parameters on one device and of one dtype: use LBFGS or ConjugateGradient")
    return flattened(a)


def flattened(a: Sequence[Tensor]) -> Tensor:
    """One flat tensor with all entries in order, of tensors on one device; a view if there is a single contiguous one."""
    return _flatten_dense_tensors(a)


def unpack(flat: Tensor, like: Sequence[Tensor]) -> Vector:
    """The list of tensors, shaped as ``like``, whose :func:`pack` is ``flat``; views of it."""
    return [piece.view(t.shape) for piece, t in zip(flat.split([t.numel() for t in like]), like, strict=True)]


def working_eps(dtype: torch.dtype) -> float:
    """Distance from 1 to the next larger number of ``dtype``: the relative rounding unit of a loss computed in it."""
    return torch.finfo(dtype).eps


def _local_dots(pairs: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> list[float]:
    packed: dict[int, Tensor | None] = {}
    for pair in pairs:
        for vector in pair:
            if id(vector) not in packed:
                packed[id(vector)] = _packed_if_small(vector)
    flat = [(packed[id(a)], packed[id(b)]) for a, b in pairs]
    if all(x is not None and y is not None for x, y in flat):
        return [_host_dot(x, y) for x, y in flat]  # type: ignore[arg-type]
    if all(t.is_cpu for a, b in pairs for t in (*a, *b)):
        return [math.fsum(_host_dot(x, y) for x, y in zip(a, b, strict=True)) for a, b in pairs]
    parts = [[_tensor_dot(x, y) for x, y in zip(a, b, strict=True)] for a, b in pairs]
    # One transfer from the device for all products: every separate one would wait for it.
    device = next(t.device for row in parts for t in row)
    counts = [len(row) for row in parts]
    values = iter(torch.stack([t.to(device) for row in parts for t in row]).tolist())
    return [math.fsum(next(values) for _ in range(count)) for count in counts]


def _packed_if_small(vector: Sequence[Tensor]) -> Tensor | None:
    """One tensor with all entries, where making it costs less than going through the tensors one by one."""
    if not vector or sum(t.numel() for t in vector) > _SMALL or any(not t.is_cpu for t in vector):
        return None
    flat = flattened(vector)
    return flat.double() if flat.numel() <= _PIECE and flat.dtype != torch.float64 else flat


def _host_dot(x: Tensor, y: Tensor) -> float:
    """Inner product on the CPU, without a temporary of the vectors' size."""
    if x.dtype != y.dtype or x.dtype not in _IN_BLAS:
        return _tensor_dot(x, y).item()
    if x.ndim != 1 or y.ndim != 1:
        x, y = x.reshape(-1), y.reshape(-1)
    if x.dtype == torch.float64 or x.numel() <= _PIECE:
        return torch.dot(x, y).item()
    pieces = list(zip(x.split(_PIECE), y.split(_PIECE), strict=True))
    total = math.fsum(torch.dot(a, b).item() for a, b in pieces)
    if _FLOOR < abs(total) < math.inf:
        return total
    # Products of float32 numbers that are all very small or very large leave its range.
    return math.fsum(torch.dot(a.double(), b.double()).item() for a, b in pieces)


def _tensor_dot(x: Tensor, y: Tensor) -> Tensor:
    if x.dtype == y.dtype == torch.float64:
        return torch.dot(x.reshape(-1), y.reshape(-1))
    if x.device.type == "mps":
        return _chunked_dot(x, y)
    return (x * y).sum(dtype=torch.float64)


def _chunked_dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product on a device without float64: float32 inside chunks, float64 on the host across them."""
    product = (x * y).reshape(-1)
    padded = torch.nn.functional.pad(product, (0, -product.numel() % _CHUNK))
    return padded.view(-1, _CHUNK).sum(dim=1).cpu().double().sum()


def _communication_device(group: dist.ProcessGroup, like: Sequence[Tensor]) -> torch.device:
    return like[0].device if like and "nccl" in dist.get_backend(group) else torch.device("cpu")
