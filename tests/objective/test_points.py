from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from homestretch.objective.points import cast, count_points, kinds_of, leaf, lengthened, over, recast, zipped


class Sample(NamedTuple):
    where: Tensor
    value: Tensor


def nested():
    x, y = torch.arange(6.0).reshape(3, 2), torch.ones(3, dtype=torch.float64)
    return {"a": (x, y), "b": [x.long()], "c": Sample(x.half(), y)}


def test_structures_of_points():
    points = nested()
    assert count_points(points) == 3
    first = over(points, lambda t: t[:1])
    assert first["a"][1].shape == (1,)
    assert isinstance(first["c"], Sample)
    assert torch.equal(first["c"].where, points["c"].where[:1])
    assert count_points((points["a"][0], torch.zeros(4))) is None
    assert count_points(torch.tensor(1.0)) is None
    with pytest.raises(TypeError, match="int"):
        over((points["a"][0], 3), lambda t: t)


def test_pairs_of_structures():
    points = nested()
    total = zipped(points, over(points, lambda t: 2 * t), torch.add)
    assert isinstance(total["c"], Sample)
    assert torch.equal(total["c"].where, 3 * points["c"].where)
    assert torch.equal(total["b"][0], 3 * points["b"][0])


@pytest.mark.parametrize("other", [torch.zeros(3), {"a": 1}, {**nested(), "c": (torch.zeros(3),)}])
def test_other_structures_are_refused(other):
    with pytest.raises(ValueError, match="same structure"):
        zipped(nested(), other, torch.add)


def dtypes(points):
    return [t.dtype for t in (*points["a"], *points["b"], *points["c"])]


def test_casting_there_and_back():
    points = nested()
    before, kinds = dtypes(points), kinds_of(points)
    long, short = lengthened(points, torch.float32), cast(points, torch.float32)
    assert dtypes(long) == [torch.float32, torch.float64, torch.int64, torch.float32, torch.float64]
    assert dtypes(short) == [torch.float32, torch.float32, torch.int64, torch.float32, torch.float32]
    back = recast(long, kinds, torch.float16)
    assert dtypes(back) == before
    zipped(back, points, lambda a, b: torch.testing.assert_close(a, b, rtol=0.0, atol=0.0) or a)
    assert cast(None, torch.float64) is lengthened(None, torch.float64) is recast(None, None, torch.float64) is None


@pytest.mark.parametrize("kinds", [torch.zeros(0), None, {"x": torch.zeros(0)}])
def test_points_of_another_structure_get_the_other_dtype(kinds):
    assert recast((torch.zeros(2, dtype=torch.float64),), kinds, torch.float32)[0].dtype == torch.float32


def test_what_is_no_structure_has_no_kinds():
    assert kinds_of(object()) is None


@pytest.mark.parametrize("needs", [True, False])
@pytest.mark.parametrize("change", [cast, lengthened, lambda p, dtype: recast(p, torch.zeros(0, dtype=dtype), dtype)])
def test_points_stay_leaves(change, needs):
    found = change(torch.zeros(3, requires_grad=needs), torch.float64)
    assert found.dtype == torch.float64
    assert found.is_leaf
    assert found.requires_grad is needs
    copy.deepcopy(found)
    assert leaf(found * 2.0, found).is_leaf
