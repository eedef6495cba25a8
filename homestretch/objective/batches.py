"""Batches of a data set: a fixed partition for full passes, a seeded shuffle for mini-batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from homestretch import arguments

_DEFAULT_BATCH = 512  # the source's mini-batch (Hrycej et al. 2025)
_SMALL_PIECE = 1 << 16  # input numbers whose piece of a full pass takes its time by the call, not by the number


class Batches(Protocol):
    """A finite data set that can be walked in a fixed partition or in a shuffled one.

    Attributes:
        batch_size: Samples in a mini-batch.
        micro_batch: Samples in a piece of a full pass.
    """

    batch_size: int
    micro_batch: int

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def full(self) -> Iterator[tuple[Any, int]]:
        """Micro-batches and their sizes, the same partition every time."""
        ...

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Any, int]]:
        """Mini-batches and their sizes in an order that depends on ``seed`` and ``epoch`` alone."""
        ...

    def subset(self, samples: int, seed: int, draw: int = 0, skip: int = 0) -> Batches:
        """``samples`` of one fixed shuffle, after the first ``skip``; ``draw`` numbers the shuffles."""
        ...


class TensorBatches:
    """Samples held as tensors, on whatever device they lie: batches are slices, no worker processes, no copies."""

    def __init__(self, tensors: tuple[Tensor, ...], batch_size: int, micro_batch: int) -> None:
        if any(t.ndim == 0 for t in tensors):
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ValueError(
                f"data: the first dimension of every tensor counts the samples, got the shapes {shapes}: give a single value "
                "as shape (1,)"
            )
        lengths = {len(t) for t in tensors}
        if len(lengths) != 1:
            raise ValueError(f"data: inputs and targets must have the same length, got {sorted(lengths)}")
        if 0 in lengths:
            raise ValueError("data must hold at least one sample, got none")
        self.tensors = tensors
        self.batch_size = batch_size
        self.micro_batch = micro_batch

    def __len__(self) -> int:
        return len(self.tensors[0])

    def full(self) -> Iterator[tuple[Any, int]]:
        """Slices of ``micro_batch`` samples in order, the last one shorter where needed."""
        for start in range(0, len(self), self.micro_batch):
            batch = tuple(t[start : start + self.micro_batch] for t in self.tensors)
            yield batch, len(batch[0])

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Any, int]]:
        """Mini-batches of one permutation."""
        order = permutation(len(self), seed, epoch)
        orders = {t.device: order.to(t.device) for t in self.tensors}
        for start in range(0, len(self), self.batch_size):
            stop = min(start + self.batch_size, len(self))
            yield tuple(t[orders[t.device][start:stop]] for t in self.tensors), stop - start

    def subset(self, samples: int, seed: int, draw: int = 0, skip: int = 0) -> TensorBatches:
        """A copy of the samples chosen."""
        chosen = _chosen(samples, len(self), seed, draw, skip)
        part = tuple(t[chosen.to(t.device)] for t in self.tensors)
        return TensorBatches(part, self.batch_size, self.micro_batch)


class DatasetBatches:
    """A map-style data set read through torch's ``DataLoader``, with its collation and workers.

    Attributes:
        drop_last: Whether mini-batches leave out a last one that is not full.
    """

    def __init__(
        self, dataset: Dataset[Any], batch_size: int, micro_batch: int, loader: dict[str, Any], drop_last: bool = False
    ) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"data must be a map-style data set with a length, got {type(dataset).__name__}: "
                "a full pass has to see every sample exactly once"
            )
        if not len(dataset):  # type: ignore[arg-type]
            raise ValueError("data must hold at least one sample, got an empty data set")
        self.dataset = dataset
        self.batch_size = batch_size
        self.micro_batch = micro_batch
        self.drop_last = drop_last
        self._loader = loader

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def full(self) -> Iterator[tuple[Any, int]]:
        """Micro-batches in the data set's order; torch's random state is left alone, and workers begin with the same one."""
        yield from self._walk(range(len(self)), self.micro_batch, generator=torch.Generator().manual_seed(0))

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Any, int]]:
        """Mini-batches of one permutation.

        Raises:
            ValueError: If ``drop_last`` leaves none.
        """
        if not steps(self):
            raise ValueError(
                f"batch_size: the DataLoader's drop_last=True leaves no mini-batch of {self.batch_size} of {len(self)} "
                "samples: give a smaller batch_size, or drop_last=False"
            )
        yield from self._walk(permutation(len(self), seed, epoch).tolist(), self.batch_size, drop_last=self.drop_last)

    def subset(self, samples: int, seed: int, draw: int = 0, skip: int = 0) -> DatasetBatches:
        """The samples chosen, read as they are needed."""
        part = Subset(self.dataset, _chosen(samples, len(self), seed, draw, skip).tolist())
        return DatasetBatches(part, self.batch_size, self.micro_batch, self._loader, self.drop_last)

    def _walk(self, order: Any, size: int, **options: Any) -> Iterator[tuple[Any, int]]:
        loader = DataLoader(self.dataset, sampler=order, batch_size=size, **self._loader, **options)
        left = len(self)
        for batch in loader:
            yield batch, min(size, left)
            left -= size


def as_batches(data: Any, *, batch_size: int | None, micro_batch: int | None, widen: bool = False) -> Batches:
    """Read what a user may give as data.

    Args:
        data: See :class:`~homestretch.objective.dataset.Objective`.
        batch_size: Samples in a mini-batch.
        micro_batch: Samples in a piece of a full pass.
        widen: Where that is not given, whether tensors of small samples may come in larger pieces than mini-batches.

    Raises:
        TypeError: If ``data`` is of no known kind.
        ValueError: If it is empty, a size is not a positive whole number, or a ``DataLoader`` chooses its samples.
    """
    batch_size = None if batch_size is None else arguments.count("batch_size", batch_size)
    micro_batch = None if micro_batch is None else arguments.count("micro_batch", micro_batch)
    if isinstance(data, DataLoader):
        return _of_loader(data, batch_size, micro_batch)
    size = batch_size or _DEFAULT_BATCH
    if type(data) is TensorDataset:  # a subclass may have a __getitem__ of its own
        data = data.tensors
    if isinstance(data, Dataset):
        return DatasetBatches(data, size, micro_batch or size, {})
    if isinstance(data, (tuple, list)) and data and all(isinstance(t, Tensor) for t in data):
        return TensorBatches(tuple(data), size, micro_batch or (_wide(data[0], size) if widen else size))
    raise TypeError(f"data must be a pair of tensors, a map-style Dataset or a DataLoader, got {_given(data)}")


def _wide(inputs: Tensor, size: int) -> int:
    """At least ``size`` samples: as many as make a small piece, up to the default mini-batch."""
    each = inputs[0].numel() if inputs.ndim and len(inputs) else 1
    return max(size, min(_DEFAULT_BATCH, _SMALL_PIECE // max(each, 1)))


def _given(data: Any) -> str:
    """What was given in place of data, and what to do with it."""
    name = type(data).__name__
    if isinstance(data, Tensor):
        return f"one {name}: give (inputs, targets), or (inputs,) and a `compute` that needs no targets"
    if isinstance(data, dict):
        return f"{name}: give its tensors as a pair, such as (data['x'], data['y'])"
    if isinstance(data, (tuple, list)):
        name = f"{name} of {', '.join(dict.fromkeys(type(t).__name__ for t in data)) or 'nothing'}"
        return f"{name}: torch.as_tensor makes tensors of arrays, DataLoader(samples, batch_size=...) reads a list of samples"
    return f"{name}: torch.as_tensor makes tensors of arrays"


def steps(batches: Batches) -> int:
    """How many mini-batches an epoch has."""
    dropped = getattr(batches, "drop_last", False)
    return len(batches) // batches.batch_size if dropped else -(-len(batches) // batches.batch_size)


def pieces(batches: Batches) -> int:
    """How many micro-batches a full pass has."""
    return -(-len(batches) // batches.micro_batch)


def _of_loader(loader: DataLoader[Any], batch_size: int | None, micro_batch: int | None) -> DatasetBatches:
    """What a loader does to every sample alike, and its way of cutting batches."""
    _refuse_selection(loader)
    cut = loader.batch_sampler  # holds the size and drop_last where the loader was given one
    size = batch_size or getattr(cut, "batch_size", None) or _DEFAULT_BATCH
    kept = {k: getattr(loader, k) for k in ("collate_fn", "num_workers", "pin_memory", "worker_init_fn")}
    return DatasetBatches(loader.dataset, size, micro_batch or size, kept, bool(getattr(cut, "drop_last", False)))


def _refuse_selection(loader: DataLoader[Any]) -> None:
    """Only what a loader does to every sample alike can be taken over; its choice of samples would silently be lost.

    Raises:
        ValueError: If it chooses, weights or groups the samples by a sampler of its own.
    """
    if isinstance(loader.dataset, IterableDataset):
        return  # refused with the data set
    if loader.batch_size is None and loader.batch_sampler is None:
        raise ValueError("data: the DataLoader makes no batches (batch_size=None): give it a batch size, or its data set")
    # A loader's own sampler says nothing where it was given a batch_sampler, which holds the one that is used.
    found: Any = loader.batch_sampler.sampler if type(loader.batch_sampler) is BatchSampler else loader.batch_sampler
    plain = type(found) is SequentialSampler or (
        type(found) is RandomSampler and not found.replacement and found.num_samples == len(found.data_source)
    )
    if not plain or len(found) != len(loader.dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"data: the DataLoader chooses its samples by {type(found).__name__}, which full passes do not know: give the "
            "samples that shall count as torch.utils.data.Subset(dataset, indices), with default sampling and a batch size"
        )


def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of ``count`` that depends on (seed, epoch) alone, the same on every device."""
    # The two numbers are mixed so that (seed 1, epoch 2) and (seed 2, epoch 1) give different orders.
    generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + epoch * 0x85EBCA77 + 1) % 2**63)
    return torch.randperm(count, generator=generator)


def _chosen(samples: int, count: int, seed: int, draw: int, skip: int) -> Tensor:
    if not 1 <= samples <= count:
        raise ValueError(f"samples must be between 1 and the size of the data, {count}, got {samples}")
    if not 0 <= skip <= count - samples:
        raise ValueError(f"skip must leave {samples} of {count} samples, got {skip}")
    # Mini-batch epochs count from 1, so these shuffles are others than theirs.
    return permutation(count, seed, -1 - draw)[skip : skip + samples]
