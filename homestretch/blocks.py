"""Vectors packed into as few tensors as devices and dtypes allow: usually one.

A vector in the parameter space is a list of tensors (:mod:`homestretch.vectors`), most of which are small. Where many inner
products are made with the same vectors, packing them costs less than going through their tensors one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.vectors import Vector


class Blocks:
    """Packs vectors shaped like ``like``: one flat tensor for each device and dtype among them.

    Args:
        like: A vector of local tensors.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        members: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for i, t in enumerate(like):
            members.setdefault((t.device, t.dtype), []).append(i)
        self._members = list(members.values())
        self._shapes = [t.shape for t in like]
        self._sizes = [[like[i].numel() for i in block] for block in self._members]
        self._like = [like[block[0]].new_empty(0) for block in self._members]

    def pack(self, vector: Sequence[Tensor]) -> Vector:
        """The blocks of ``vector``, each of shape (n,); one of a single contiguous tensor is a view of it."""
        return [vectors.flattened([vector[i] for i in block]) for block in self._members]

    def unpack(self, blocks: Sequence[Tensor]) -> Vector:
        """The vector whose blocks these are; views of them."""
        return self._views(blocks, ())

    def stacks(self, rows: int) -> list[Tensor]:
        """Zeros of shape (rows, n), one for each block."""
        return [t.new_zeros((rows, sum(sizes))) for t, sizes in zip(self._like, self._sizes, strict=True)]

    def pack_stack(self, stack: Sequence[Tensor]) -> list[Tensor]:
        """A stack of vectors, each tensor of shape (rows, ...), as blocks of shape (rows, n)."""
        return [torch.cat([stack[i].reshape(len(stack[i]), -1) for i in block], dim=1) for block in self._members]

    def unpack_stack(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """The stack of vectors whose blocks these are; views of them."""
        return self._views(blocks, tuple(blocks[0].shape[:1]))

    def _views(self, blocks: Sequence[Tensor], leading: tuple[int, ...]) -> list[Tensor]:
        result: list[Tensor] = [blocks[0]] * len(self._shapes)
        for flat, block, sizes in zip(blocks, self._members, self._sizes, strict=True):
            for i, piece in zip(block, flat.split_with_sizes(sizes, dim=-1), strict=True):
                shape = self._shapes[i]
                result[i] = piece if len(shape) == 1 and not leading else piece.view(leading + shape)
        return result
