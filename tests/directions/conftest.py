from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from homestretch.cost import CostMeter
from homestretch.line import SearchResult, SearchStatus

SHAPES = ((3,), (2, 2), (), (1, 2))  # ten numbers in tensors of several shapes


class Quadratic:
    """1/2 x'Ax - b'x over a list of parameters, with a forward-only loss; A is dense."""

    def __init__(self, seed: int = 0, scale: np.ndarray | None = None, condition: float = 100.0) -> None:
        generator = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(generator.normal(size=(10, 10)))
        self.a = basis @ np.diag(np.geomspace(0.1, 0.1 * condition, 10)) @ basis.T
        self.b = generator.normal(size=10)
        self.x0 = generator.normal(size=10)
        if scale is not None:  # the same function of z, with x = scale * z
            self.a, self.b, self.x0 = self.a * np.outer(scale, scale), self.b * scale, self.x0 / scale
        self.matrix, self.right = torch.from_numpy(self.a), torch.from_numpy(self.b)
        self.parameters = [nn.Parameter(t.clone()) for t in unpack(self.x0)]
        self.meter, self.version = CostMeter(), 0

    @property
    def minimum(self) -> float:
        return float(-0.5 * self.b @ np.linalg.solve(self.a, self.b))

    @property
    def x(self) -> np.ndarray:
        return pack(self.parameters)

    def value(self):
        x = torch.cat([p.reshape(-1) for p in self.parameters])
        return 0.5 * x @ self.matrix @ x - self.right @ x

    def __call__(self):
        for p in self.parameters:
            p.grad = None
        with torch.enable_grad():
            loss = self.value()
            loss.backward()
        self.meter.count_gradient()
        return loss.detach()

    def loss(self):
        self.meter.count_forward()
        with torch.no_grad():
            return float(self.value())


def unpack(flat: np.ndarray) -> list[torch.Tensor]:
    sizes = [int(np.prod(s)) for s in SHAPES]
    return [torch.from_numpy(v.reshape(s).copy()) for v, s in zip(np.split(flat, np.cumsum(sizes)[:-1]), SHAPES, strict=True)]


def pack(tensors) -> np.ndarray:
    return np.concatenate([t.detach().numpy().reshape(-1) for t in tensors])


class ExactOnQuadratics:
    """The minimum along the line of a quadratic, by a secant; or ``factor`` times that step."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, line):
        _, slope = line.loss_and_slope(1.0)
        step = self.factor * line.start_slope / (line.start_slope - slope)
        return SearchResult(step, *line.loss_and_slope(step), SearchStatus.CONVERGED)


@pytest.fixture(scope="session")
def quadratic():
    return Quadratic


@pytest.fixture(scope="session")
def exact():
    return ExactOnQuadratics


@pytest.fixture(scope="session")
def packed():
    return pack


@pytest.fixture(scope="session")
def unpacked():
    return unpack
