from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from homestretch import vectors
from homestretch.vectors import Vector


@dataclass
class Case:
    """A symmetric operator over a list of tensors, with its exact matrix and what it was made from."""

    product: Callable[[Vector], Vector]
    like: Vector
    matrix: Tensor
    model: nn.Module | None = None
    batches: list[tuple[Tensor, Tensor]] | None = None
    gradient: Vector | None = None


def matrix_case(matrix: Tensor, shapes: list[tuple[int, ...]]) -> Case:
    like = [torch.zeros(shape, dtype=matrix.dtype) for shape in shapes]
    return Case(lambda v: vectors.unpack(matrix @ vectors.pack(v), like), like, matrix)


def network_case() -> Case:
    """A small network with mean squared error over two batches of unequal size, products by double backward."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    batches = [(torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)) for n in (7, 4)]
    names, params = zip(*model.named_parameters(), strict=True)
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))

    def flat_loss(flat: Tensor) -> Tensor:
        weights = dict(zip(names, vectors.unpack(flat, params), strict=True))
        return nn.functional.mse_loss(functional_call(model, weights, (inputs,)), targets)

    def product(v: Vector) -> Vector:
        total = vectors.zeros_like(params)
        for x, y in batches:
            loss = nn.functional.mse_loss(model(x), y)
            gradient = torch.autograd.grad(loss, params, create_graph=True)
            inner = sum((g * u).sum() for g, u in zip(gradient, v, strict=True))
            vectors.add_(total, torch.autograd.grad(inner, params), len(x) / len(inputs))
        return total

    flat = vectors.pack([p.detach() for p in params])
    gradient = list(torch.autograd.grad(nn.functional.mse_loss(model(inputs), targets), params))
    return Case(product, [p.detach() for p in params], jacrev(jacrev(flat_loss))(flat), model, batches, gradient)


def spectrum_case(values: list[float], shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(5)
    q, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))
    matrix = (q * torch.tensor(values, dtype=torch.float64)) @ q.T
    return matrix_case((0.5 * (matrix + matrix.T)).to(dtype), shapes)


CASES = {
    "network": network_case,
    "indefinite": lambda: spectrum_case([-3.0, -1.0, *[0.1 * i for i in range(1, 39)]], [(4, 5), (20,)]),
    "repeated": lambda: spectrum_case([2.0] * 15 + [5.0] * 15, [(30,)]),
    "one": lambda: spectrum_case([-4.0], [(1, 1)]),
    "zero": lambda: matrix_case(torch.zeros(6, 6, dtype=torch.float64), [(2, 3)]),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]()


@pytest.fixture
def network() -> Case:
    return network_case()


@pytest.fixture
def make_spectrum():
    return spectrum_case
