"""Poisson's equation on the unit square, in the setting of Mueller and Zeinhofer (2023), network of Dangel et al. (2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp, grid, held_out_generator
from homestretch.objective.taylor import laplacian


def exact(points: Tensor) -> Tensor:
    """Return `sin(pi x) sin(pi y)`, shape (N, 1)."""
    return torch.sin(math.pi * points).prod(1, keepdim=True)


def force(points: Tensor) -> Tensor:
    """Return `2 pi^2 sin(pi x) sin(pi y)`, shape (N, 1)."""
    return 2 * math.pi**2 * exact(points)


def border(count: int) -> Tensor:
    """Return `count` equidistant points on each side of the unit square, each corner once, shape (4 count, 2)."""
    k = torch.arange(count, dtype=torch.float64) / count
    zero, one = torch.zeros_like(k), torch.ones_like(k)
    sides = [(k, zero), (one, k), (1 - k, one), (zero, 1 - k)]
    return torch.cat([torch.stack(side, dim=1) for side in sides])


class Poisson2D(Problem):
    """`-lap u = 2 pi^2 sin(pi x) sin(pi y)`, `u = 0` on the border: `mean (lap u + f)^2 + mean u^2`.

    The 900 inner points are the inner nodes of a 32 x 32 grid, the 120 border points are 30 a side. The error is the absolute
    L2 norm over the square, as root mean square over a 101 x 101 grid.
    """

    def __init__(self, seed: int = 0, width: int = 64, side: int = 30, warm_up: WarmUp | None = None) -> None:
        self.name = "poisson-2d"
        self.module = tanh_network((2, width, 1), seed)
        self.warm_up = warm_up or WarmUp()
        nodes = torch.arange(1, side + 1, dtype=torch.float64) / (side + 1)
        self.inner = grid(nodes, nodes)
        self.border = border(side)
        self.force = force(self.inner)
        generator = held_out_generator(seed)
        inner = torch.rand(900, 2, dtype=torch.float64, generator=generator)
        edge = border(500)[torch.randperm(2000, generator=generator)[:120]]
        self.held_out = {"equation": (inner, force(inner)), "border": edge}
        axis = torch.linspace(0, 1, 101, dtype=torch.float64)
        self._test_points = grid(axis, axis)
        self._test_values = exact(self._test_points)

    @property
    def points(self) -> Points:
        return {"equation": (self.inner, self.force), "border": self.border}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        inner, force = points["equation"]
        _, curvature = laplacian(module, inner)
        return {"equation": curvature + force, "border": module(points["border"])}

    @torch.no_grad()
    def error(self) -> float:
        return float((self.module(self._test_points) - self._test_values).square().mean().sqrt())
