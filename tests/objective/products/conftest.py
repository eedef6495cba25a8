"""Models, losses and data that every product is compared on with an exact Hessian or Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from homestretch import Objective, vectors


class Attention(nn.Module):
    """One pre-normalised head pair of ``scaled_dot_product_attention``, then a mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.project = nn.Linear(4, 12, bias=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.project(self.norm(x)).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*heads.unbind(0))
        return self.last((x + mixed.transpose(1, 2).flatten(2)).mean(1))


class Checkpointed(nn.Module):
    """A dense network that recomputes its hidden layer in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(lambda y: torch.tanh(self.first(y)), x, use_reentrant=False))


class Tied(nn.Module):
    """One matrix used twice, a parameter stored transposed (not contiguous), and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(5, 5, bias=False)
        self.two = nn.Linear(5, 5, bias=True)
        self.two.weight = self.one.weight
        self.last = nn.Parameter(torch.randn(5, 3, dtype=torch.float64).mT.contiguous().mT)
        self.two.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.two(torch.tanh(self.one(x)))) @ self.last


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.SiLU(), nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 3))


SHAPES = {convolutional: (1, 6, 6), Attention: (3, 4)}
MODELS = {
    "dense": dense, "convolutional": convolutional, "attention": Attention, "normalised": normalised,
    "checkpointed": Checkpointed, "tied": Tied,
}  # fmt: skip


def softmax_then_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.softmax(-1), nn.functional.one_hot(targets, 3).to(outputs))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs, nn.functional.one_hot(targets, 3).to(outputs))


LOSSES = {"squared": squared, "cross-entropy": nn.functional.cross_entropy, "softmax-squared": softmax_then_squared}


@dataclass
class Case:
    """An objective with a ragged last micro-batch, and what its products are compared with."""

    objective: Objective
    model: nn.Module
    loss: Any
    inputs: Tensor
    targets: Tensor

    @property
    def names(self) -> list[str]:
        return [name for name, p in self.model.named_parameters() if p.requires_grad]

    def at(self, flat: Tensor) -> Tensor:
        """Outputs with the trainable parameters taken from one flat tensor."""
        tensors = vectors.unpack(flat, self.objective.parameters)
        with sdpa_kernel(SDPBackend.MATH):  # the only one with second derivatives
            return torch.func.functional_call(self.model, dict(zip(self.names, tensors, strict=True)), (self.inputs,))

    def outputs_by_batch(self, flat: Tensor, size: int) -> list[Tensor]:
        """The same batch by batch, with batch norm in training mode and all else as it is evaluated."""
        tensors = dict(zip(self.names, vectors.unpack(flat, self.objective.parameters), strict=True))
        self.model.eval()
        for norm in (m for m in self.model.modules() if isinstance(m, nn.BatchNorm1d)):
            norm.train()
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        return [torch.func.functional_call(self.model, tensors, (part,)) for part in self.inputs.split(size)]

    @property
    def flat(self) -> Tensor:
        return vectors.pack(vectors.locals_of(self.objective.parameters))

    def vector(self, seed: int = 0) -> list[Tensor]:
        torch.manual_seed(seed)
        return [torch.randn_like(p) for p in vectors.locals_of(self.objective.parameters)]


@pytest.fixture(params=MODELS)
def model_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=LOSSES)
def loss_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(model_name: str, loss_name: str) -> Case:
    return make_case(model_name, loss_name)


def make_case(model_name: str, loss_name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Case:
    torch.manual_seed(3)
    make = MODELS[model_name]
    model = make().to(dtype)
    inputs = torch.randn(7, *SHAPES.get(make, (5,)), dtype=dtype)
    targets = torch.randint(3, (7,))
    loss = LOSSES[loss_name]
    objective = Objective(model, loss, (inputs, targets), **{"micro_batch": 3, **options})
    return Case(objective, model.eval(), loss, inputs, targets)
