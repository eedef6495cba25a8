"""Curve and surface fits that nothing else in the benchmarks reports: what the rules of `homestretch.auto` are checked on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp, held_out_generator, relative_l2

CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "waves": lambda x: torch.cos(3.0 * math.pi * x) * torch.exp(-x),
    "bumps": lambda x: torch.exp(-50.0 * (x - 0.3) ** 2) + 0.5 * torch.exp(-20.0 * (x + 0.5) ** 2),
}
SURFACES: dict[str, Callable[[Tensor], Tensor]] = {
    "saddle": lambda x: torch.sin(2.0 * x[:, :1] * x[:, 1:]) + x[:, :1] ** 2 - x[:, 1:] ** 2,
    "ripple": lambda x: torch.cos(4.0 * x.square().sum(1, keepdim=True)),
}
TARGETS = {**CURVES, **SURFACES}


class Fit(Problem):
    """`u(x) = target(x)` on [-1, 1]^d from `points` equidistant points (on a line) or random ones (in a square).

    The error is the relative L2 norm at 4,000 other random points.
    """

    def __init__(
        self,
        seed: int = 0,
        target: str = "waves",
        hidden: Sequence[int] = (64,),
        points: int = 2000,
        warm_up: WarmUp | None = None,
    ) -> None:
        self.name = f"{target}, hidden {' x '.join(map(str, hidden))}, {points:,} points"
        inputs = 2 if target in SURFACES else 1
        self.module = tanh_network((inputs, *hidden, 1), seed)
        self.warm_up = warm_up or WarmUp()
        function = TARGETS[target]
        generator = held_out_generator(seed)
        if inputs == 1:
            self.inputs = torch.linspace(-1, 1, points, dtype=torch.float64).unsqueeze(1)
        else:
            self.inputs = _random(points, inputs, torch.Generator().manual_seed(seed))
        self.targets = function(self.inputs)
        others, tests = _random(1000, inputs, generator), _random(4000, inputs, generator)
        self.held_out = {"data": (others, function(others))}
        self._tests = (tests, function(tests))

    @property
    def points(self) -> Points:
        return {"data": (self.inputs, self.targets)}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        inputs, targets = points["data"]
        return {"data": module(inputs) - targets}

    @torch.no_grad()
    def error(self) -> float:
        inputs, targets = self._tests
        return relative_l2(self.module(inputs), targets)


def _random(count: int, inputs: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(count, inputs, dtype=torch.float64, generator=generator) - 1.0
