from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from homestretch import Objective


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def data(count=9):
    return torch.randn(count, 3), torch.randn(count, 1)


def run(objective):
    fractions = []
    for closure in objective.minibatches(1):
        closure()
        fractions.append(closure.fraction)
    return fractions


def test_a_last_sample_alone_under_batch_norm_is_explained():
    objective = Objective(network(), mse_loss, data(), batch_size=4)
    with pytest.raises(ValueError, match=r"9 samples at batch_size=4 make one: .*drop_last=True"):
        run(objective)


def test_drop_last_leaves_it_out_at_its_price():
    loader = DataLoader(TensorDataset(*data()), batch_size=4, drop_last=True)
    objective = Objective(network(), mse_loss, loader)
    assert run(objective) == [4 / 9, 4 / 9]
    assert objective.meter.gradient_equivalents == pytest.approx(8 / 9)


def test_other_errors_are_left_as_they_are():
    def loss(outputs, targets):
        raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match=r"^shapes do not fit"):
        run(Objective(network(), loss, data(8), batch_size=4))
