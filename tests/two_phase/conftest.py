from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from homestretch import LBFGS, AtEpoch, NoResort, Objective, TwoPhase


def make_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def make_data(count: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)


def make_setting(first: Callable[..., Any] = Adam, rate: float = 1e-2, **options: Any) -> tuple[nn.Module, Objective, TwoPhase]:
    """A small problem with a swap after epoch 3 that is never taken back, nor looked at, unless ``options`` say so."""
    model = make_network()
    objective = Objective(model, mse_loss, make_data(), batch_size=16)
    defaults = {"rule": AtEpoch(3), "resort": NoResort(), "second": LBFGS, "evidence": None}
    optimizer = TwoPhase(model.parameters(), objective, first=first(model.parameters(), lr=rate), **{**defaults, **options})
    return model, objective, optimizer


def make_epochs(optimizer: TwoPhase, epochs: int) -> None:
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)


@pytest.fixture
def network():
    return make_network


@pytest.fixture
def data():
    return make_data


@pytest.fixture
def setting():
    return make_setting


@pytest.fixture
def run():
    return make_epochs
