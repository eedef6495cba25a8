from __future__ import annotations

import dataclasses

import pytest
import torch

from homestretch.paper.data import ImageData, one_hot


def test_data_moves_whole_and_cannot_be_changed():
    data = ImageData("x", torch.zeros(3, 1, 4, 5), torch.zeros(3).long(), torch.ones(2, 1, 4, 5), torch.ones(2).long(), 2)
    assert data.image_shape == (1, 4, 5)
    moved = data.to("meta")
    tensors = (moved.train_inputs, moved.train_targets, moved.validation_inputs, moved.validation_targets)
    assert [(t.device.type, len(t)) for t in tensors] == [("meta", 3), ("meta", 3), ("meta", 2), ("meta", 2)]
    assert (moved.name, moved.classes) == ("x", 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.classes = 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_hot_rows_are_rows_of_the_identity(dtype):
    labels = torch.tensor([2, 0, 3])
    targets = one_hot(labels, 4, dtype)
    assert targets.dtype == dtype
    assert torch.equal(targets, torch.eye(4, dtype=dtype)[labels])
