from __future__ import annotations

import pytest
import torch

from homestretch.blocks import Blocks

LAYOUTS = {
    "one": [((3, 2), torch.float64)],
    "several": [((3,), torch.float64), ((2, 2), torch.float64), ((), torch.float64)],
    "mixed": [((3,), torch.float64), ((2, 2), torch.float32), ((1,), torch.float64)],
}


def vector(layout, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape, dtype in LAYOUTS[layout]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unpacking_undoes_packing(layout):
    a = vector(layout)
    blocks = Blocks(a)
    packed = blocks.pack(a)
    assert len(packed) == len({t.dtype for t in a})
    assert sum(b.numel() for b in packed) == sum(t.numel() for t in a)
    assert all(torch.equal(x, y) for x, y in zip(blocks.unpack(packed), a, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_products_are_those_of_the_vectors(layout):
    a, b = vector(layout), vector(layout, 1)
    blocks = Blocks(a)
    product = sum(float(x @ y) for x, y in zip(blocks.pack(a), blocks.pack(b), strict=True))
    assert product == pytest.approx(sum(float((x * y).sum()) for x, y in zip(a, b, strict=True)), rel=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stacks_are_views_row_by_row(layout):
    a, b = vector(layout), vector(layout, 1)
    blocks = Blocks(a)
    stacks = blocks.stacks(2)
    views = blocks.unpack_stack(stacks)
    for i, row in enumerate((a, b)):
        for view, t in zip(views, row, strict=True):
            view[i].copy_(t)
    for i, row in enumerate((a, b)):
        assert all(torch.equal(s[i], p) for s, p in zip(stacks, blocks.pack(row), strict=True))
    assert all(torch.equal(x, y) for x, y in zip(blocks.pack_stack(views), stacks, strict=True))
