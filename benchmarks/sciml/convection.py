"""Convection at speed 40, periodic: the stiff problem of Krishnapriyan et al. (2021) and Rathore et al. (2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp, grid, held_out_generator, relative_l2
from homestretch.objective.taylor import taylor

SPEED = 40.0


class Convection(Problem):
    """`u_t + 40 u_x = 0` for x in [0, 2 pi] periodic, t in [0, 1], `u(x, 0) = sin x`; exact `sin(x - 40 t)`.

    Terms, each a mean of squares of weight 1: the equation at 2,500 points drawn without replacement from the inner 255 x 100
    grid, the start at 257 points, `u(0, t) = u(2 pi, t)` at 101 times. The error is the relative L2 norm on a 129 x 101
    grid. Published runs had three layers of 200 and 10,000 points in float32; this reduction is ours. Its stages are speeds,
    after the curriculum of Krishnapriyan et al. (2021, section 5).
    """

    stages = tuple(2.5 * k for k in range(2, 17))

    def __init__(
        self, seed: int = 0, hidden: Sequence[int] = (50, 50, 50), points: int = 2500, warm_up: WarmUp | None = None
    ) -> None:
        self.name = "convection"
        self.module = tanh_network((2, *hidden, 1), seed)
        self.warm_up = warm_up or WarmUp()
        x, t = _axis(0.0, 2 * math.pi, 257), _axis(0.0, 1.0, 101)
        nodes = grid(x[1:-1], t[1:])
        chosen = torch.randperm(len(nodes), generator=torch.Generator().manual_seed(seed))[:points]
        self.inner = nodes[chosen]
        self.start = grid(x, t[:1])
        self.left, self.right = grid(x[:1], t), grid(x[-1:], t)
        self.held_out = self._elsewhere(held_out_generator(seed))
        self.ease(SPEED)
        self._test_points = grid(_axis(0.0, 2 * math.pi, 129), t)
        self._test_values = exact(self._test_points)

    def ease(self, stage: float) -> None:
        self._flow = torch.tensor([[stage, 1.0]], dtype=torch.float64)

    @property
    def points(self) -> Points:
        return {"equation": self.inner, "start": self.start, "border": (self.left, self.right)}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        left, right = points["border"]
        return {
            # u_t + 40 u_x is one derivative, along (40, 1).
            "equation": taylor(module, points["equation"], self._flow, order=1).first[0],
            "start": module(points["start"]) - torch.sin(points["start"][:, :1]),
            "border": module(left) - module(right),
        }

    def _elsewhere(self, generator: torch.Generator) -> Points:
        """Points between those that are trained on."""
        unit = torch.rand(2500, 2, dtype=torch.float64, generator=generator)
        inner = unit * torch.tensor([2 * math.pi, 1.0], dtype=torch.float64)
        start, left, right = inner[:257].clone(), inner[:101].clone(), inner[:101].clone()
        start[:, 1], left[:, 0], right[:, 0] = 0.0, 0.0, 2 * math.pi
        return {"equation": inner, "start": start, "border": (left, right)}

    @torch.no_grad()
    def error(self) -> float:
        return relative_l2(self.module(self._test_points), self._test_values)


def exact(points: Tensor) -> Tensor:
    """Return `sin(x - 40 t)`, shape (N, 1)."""
    return torch.sin(points[:, :1] - SPEED * points[:, 1:])


def _axis(low: float, high: float, count: int) -> Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64)
