"""Burgers' equation with a steep front, its points redrawn where the residual is large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp, grid, held_out_generator, relative_l2
from homestretch.objective.taylor import taylor

VISCOSITY = 0.01 / math.pi
BORDER_WEIGHT = 5.0


class Burgers(Problem):
    """`u_t + u u_x = (0.01 / pi) u_xx`, x in [-1, 1], t in [0, 1], `u(x, 0) = -sin(pi x)`, `u(-1, t) = u(1, t) = 0`.

    Terms: the equation at 8,000 points (weight 1), the start at 500 and the ends at 250 times each (weight 5 both: they are
    the border of the space-time domain). `redraw` takes new inner points from a uniform pool of five times their number,
    with probability proportional to `|r| / mean |r| + 1` (Wu et al., 2023, with k = c = 1). The error is the relative L2
    norm on a 256 x 101 grid, both borders included.
    """

    redraw_every = 500
    weights: ClassVar[Mapping[str, float]] = {"start": BORDER_WEIGHT, "ends": BORDER_WEIGHT}

    def __init__(
        self,
        seed: int = 0,
        hidden: Sequence[int] = (20, 20, 20, 20),
        points: int = 8000,
        sides: int = 500,
        warm_up: WarmUp | None = None,
    ) -> None:
        self.name = "burgers"
        self.module = tanh_network((2, *hidden, 1), seed)
        self.warm_up = warm_up or WarmUp(steps=1000)
        self._generator = torch.Generator().manual_seed(seed)
        self.inner = uniform(points, self._generator)
        x = torch.linspace(-1, 1, sides, dtype=torch.float64)
        t = torch.linspace(0, 1, sides // 2, dtype=torch.float64)
        self.start = grid(x, t[:1])
        self.ends = grid(x[[0, -1]], t)
        # The start and the ends are dense already.
        self.held_out = {"equation": uniform(4000, held_out_generator(seed)), "start": self.start, "ends": self.ends}

    @property
    def points(self) -> Points:
        return {"equation": self.inner, "start": self.start, "ends": self.ends}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        start = points["start"]
        return {
            "equation": equation(module, points["equation"]),
            "start": module(start) + torch.sin(math.pi * start[:, :1]),
            "ends": module(points["ends"]),
        }

    @torch.no_grad()
    def redraw(self) -> None:
        pool = uniform(5 * len(self.inner), self._generator)
        size = equation(self.module, pool).abs().squeeze(1)
        odds = size / size.mean() + 1.0
        self.inner = pool[torch.multinomial(odds, len(self.inner), generator=self._generator)]

    @torch.no_grad()
    def error(self) -> float:
        points, values = _test_set()
        return relative_l2(self.module(points), values)


def equation(module: nn.Sequential, points: Tensor) -> Tensor:
    """Return the residual of the equation at points (N, 2), shape (N, 1)."""
    u, (u_x, u_t), (u_xx,) = taylor(module, points, order=(2, 1))
    return u_t + u * u_x - VISCOSITY * u_xx


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """Return points spread evenly over the domain at random, shape (count, 2)."""
    unit = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    return unit * torch.tensor([2.0, 1.0], dtype=torch.float64) - torch.tensor([1.0, 0.0], dtype=torch.float64)


@cache
def _test_set() -> tuple[Tensor, Tensor]:
    x, t = torch.linspace(-1, 1, 256, dtype=torch.float64), torch.linspace(0, 1, 101, dtype=torch.float64)
    values = exact(x.numpy(), t.numpy())
    return grid(x, t), torch.from_numpy(values).reshape(-1, 1)


def exact(x: np.ndarray, t: np.ndarray, nodes: int = 200) -> np.ndarray:
    """Return the solution at all pairs of x (n,) and t (m,), shape (n, m), by the Cole-Hopf formula (Cole, 1951).

    `u = -int sin(pi y) g(y) dz / int g(y) dz` with `y = x - sqrt(4 nu t) z` and
    `g(y) = exp(-cos(pi y) / (2 pi nu) - z^2)`, by Gauss-Hermite quadrature with the given number of nodes.
    """
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    y = x[:, None, None] - np.sqrt(4 * VISCOSITY * t)[None, :, None] * z
    exponent = -np.cos(np.pi * y) / (2 * np.pi * VISCOSITY)
    # A common factor cancels; without its removal exp(50) meets weights of 1e-150.
    kernel = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)
