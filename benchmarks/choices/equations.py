"""Equations that nothing else in the benchmarks reports: what the rules of `homestretch.auto` are checked on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.poisson_2d import border
from benchmarks.sciml.problem import Points, Problem, WarmUp, grid, held_out_generator, relative_l2
from homestretch.objective.taylor import laplacian, taylor

DIFFUSION = 0.1


class Cubic(Problem):
    """`lap u = u^3 + f` on the unit square with the solution `x y (1 - x) (1 - y) exp(x + y)`, which vanishes on the border."""

    def __init__(self, seed: int = 0, hidden: Sequence[int] = (40,), points: int = 1000, warm_up: WarmUp | None = None) -> None:
        self.name = "cubic"
        self.module = tanh_network((2, *hidden, 1), seed)
        self.warm_up = warm_up or WarmUp()
        self.inner = torch.rand(points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.border = border(40)
        generator = held_out_generator(seed)
        self.held_out = {
            "equation": torch.rand(1000, 2, dtype=torch.float64, generator=generator),
            "border": border(500)[torch.randperm(2000, generator=generator)[:160]],
        }
        axis = torch.linspace(0, 1, 51, dtype=torch.float64)
        self._test_points = grid(axis, axis)

    @property
    def points(self) -> Points:
        return {"equation": self.inner, "border": self.border}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        inner = points["equation"]
        values, curvature = laplacian(module, inner)
        u, lap = _solution(inner)
        return {"equation": curvature - lap - values**3 + u**3, "border": module(points["border"])}

    @torch.no_grad()
    def error(self) -> float:
        return relative_l2(self.module(self._test_points), _solution(self._test_points)[0])


class Diffusion(Problem):
    """`u_t = 0.1 u_xx`, x and t in [0, 1], zero at both ends; the solution is the sum of two decaying sines."""

    def __init__(
        self, seed: int = 0, hidden: Sequence[int] = (20, 20), points: int = 1500, warm_up: WarmUp | None = None
    ) -> None:
        self.name = "diffusion"
        self.module = tanh_network((2, *hidden, 1), seed)
        self.warm_up = warm_up or WarmUp()
        self.inner = torch.rand(points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        axis = torch.linspace(0, 1, 101, dtype=torch.float64)
        self.start, self.ends = grid(axis, axis[:1]), grid(axis[[0, -1]], axis)
        inner = torch.rand(1500, 2, dtype=torch.float64, generator=held_out_generator(seed))
        self.held_out = {"equation": inner, "start": self.start, "ends": self.ends}
        self._test_points = grid(axis, axis)

    @property
    def points(self) -> Points:
        return {"equation": self.inner, "start": self.start, "ends": self.ends}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        _, (_, u_t), (u_xx,) = taylor(module, points["equation"], order=(2, 1))
        start = points["start"]
        return {
            "equation": u_t - DIFFUSION * u_xx,
            "start": module(start) - _decaying(start),
            "ends": module(points["ends"]),
        }

    @torch.no_grad()
    def error(self) -> float:
        return relative_l2(self.module(self._test_points), _decaying(self._test_points))


def _solution(points: Tensor) -> tuple[Tensor, Tensor]:
    """The solution of `Cubic` and its Laplacian, shape (N, 1) both."""
    x, y = points[:, :1], points[:, 1:]
    grown = torch.exp(x + y)
    p, q = x * (1 - x), y * (1 - y)
    # With p = x (1 - x): (p exp x)'' = (p + 2 p' + p'') exp x = (-x^2 - 3 x) exp x.
    return p * q * grown, ((-(x**2) - 3 * x) * q + (-(y**2) - 3 * y) * p) * grown


def _decaying(points: Tensor) -> Tensor:
    """The solution of `Diffusion`, shape (N, 1)."""
    x, t = points[:, :1], points[:, 1:]
    modes = [(1, 1.0), (3, 0.5)]
    return sum((c * torch.sin(k * math.pi * x) * torch.exp(-DIFFUSION * (k * math.pi) ** 2 * t) for k, c in modes), 0 * x)
