from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout, mse_loss

from homestretch import Objective
from homestretch.errors import NondeterministicLossError
from homestretch.objective.determinism import layer_at_fault


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Stubborn(nn.Module):
    """Dropout that no mode switches off."""

    def forward(self, x):
        return dropout(x, 0.5, training=True)


class Counting(nn.Module):
    """A layer with a memory."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x) + torch.rand(())


def samples():
    return torch.randn(12, 3, dtype=torch.float64), torch.randn(12, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (Noise(), r"1\.1 \(Noise\)"),
        (Stubborn(), r"1\.1 \(Stubborn\)"),
        (Counting(), r"1\.1 \(Counting\)"),
        (Outer(), r"1\.1 \(Outer\)"),
    ],
)
def test_the_innermost_layer_at_fault_is_named(layer, named):
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh(), layer), nn.Linear(3, 3)).double()
    with pytest.raises(NondeterministicLossError, match=f"At fault: {named}"):
        Objective(model, mse_loss, samples()).check_deterministic()


def test_a_random_loss_is_told_from_a_random_layer():
    objective = Objective(nn.Linear(3, 3).double(), lambda a, b: mse_loss(a, b) * torch.rand(()), samples())
    with pytest.raises(NondeterministicLossError, match="none of the model's layers: the loss function"):
        objective.check_deterministic()


def test_random_inputs_are_told_from_a_random_layer():
    def compute(model, batch):
        return model(batch[0] + torch.randn_like(batch[0])), batch[1]

    objective = Objective(nn.Linear(3, 3).double(), mse_loss, samples(), compute=compute)
    with pytest.raises(NondeterministicLossError, match="what reaches the model itself"):
        objective.check_deterministic()


def test_layers_called_by_chance_are_noticed():
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.calls = nn.Linear(3, 3), nn.Linear(3, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.one(x) if self.calls % 2 else self.other(x)

    model, x = Either(), torch.randn(2, 3)
    assert "calls other layers" in layer_at_fault(model, lambda: model(x))


def test_the_mode_is_part_of_what_is_checked():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    for mode in ("eval", "train"):
        for policy in ("off", "fixed"):
            Objective(model, mse_loss, samples(), mode=mode, dropout=policy).check_deterministic()


def test_a_loss_that_is_not_a_number_twice_is_no_randomness():
    Objective(nn.Linear(3, 3).double(), lambda a, b: (a - b).sum() * float("nan"), samples()).check_deterministic()


def test_hooks_are_removed():
    model = nn.Sequential(Noise())
    layer_at_fault(model, lambda: model(torch.zeros(2, 3)))
    assert not model._forward_hooks
    assert not model[0]._forward_hooks
