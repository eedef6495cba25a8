from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import dropout, mse_loss
from torch.utils.data import DataLoader, Dataset

from homestretch import Objective
from homestretch.errors import NondeterministicLossError
from homestretch.objective.determinism import layer_at_fault
from homestretch.objective.taylor import taylor


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


class Augmented(Dataset):
    def __init__(self, noise):
        self.noise = noise

    def __len__(self):
        return 12

    def __getitem__(self, index):
        _, targets = samples()
        return {"x": torch.full((3,), float(index), dtype=torch.float64) + self.noise(), "y": targets[index] * 0.0}


def read(model, batch):
    return model(batch["x"]), batch["y"]


@pytest.mark.parametrize("noise", [lambda: torch.randn(3), lambda: random.random(), lambda: np.random.rand()])  # noqa: NPY002
@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=5)])
def test_data_that_are_read_differently_each_time_are_refused(noise, wrap):
    objective = Objective(nn.Linear(3, 3).double(), mse_loss, wrap(Augmented(noise)), compute=read)
    with pytest.raises(NondeterministicLossError, match="data: reading the same samples twice gave different ones"):
        objective.check_deterministic()


def test_augmentation_by_the_index_alone_passes():
    objective = Objective(nn.Linear(3, 3).double(), mse_loss, Augmented(lambda: float("nan")), compute=read)
    objective.check_deterministic()


def test_the_check_costs_two_forward_passes_over_a_micro_batch():
    objective = Objective(nn.Linear(3, 3).double(), mse_loss, samples(), micro_batch=3)
    objective.check_deterministic()
    assert objective.meter.gradient_equivalents == pytest.approx(2 / 3 * 3 / 12)


def test_a_model_that_allows_no_hooks_is_told_of_all_the_same():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))

        def forward(self, x):
            return taylor(self.net, x, order=1).first[0] + 0.1 * torch.randn_like(x)

    objective = Objective(Noisy(), nn.functional.mse_loss, (torch.zeros(8, 1), torch.zeros(8, 1)))
    with pytest.raises(NondeterministicLossError, match="not found, as the layers cannot be watched"):
        objective.check_deterministic()
