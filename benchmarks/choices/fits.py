"""Curve and surface fits that nothing else in the benchmarks reports: what the rules of `homestretch.auto` are checked on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import WarmUp, held_out_generator
from benchmarks.sciml.regression import Regression

CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "waves": lambda x: torch.cos(3.0 * math.pi * x) * torch.exp(-x),
    "bumps": lambda x: torch.exp(-50.0 * (x - 0.3) ** 2) + 0.5 * torch.exp(-20.0 * (x + 0.5) ** 2),
}
SURFACES: dict[str, Callable[[Tensor], Tensor]] = {
    "saddle": lambda x: torch.sin(2.0 * x[:, :1] * x[:, 1:]) + x[:, :1] ** 2 - x[:, 1:] ** 2,
    "ripple": lambda x: torch.cos(4.0 * x.square().sum(1, keepdim=True)),
}
TARGETS = {**CURVES, **SURFACES}


class Fit(Regression):
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
            places = torch.linspace(-1, 1, points, dtype=torch.float64).unsqueeze(1)
        else:
            places = _random(points, inputs, torch.Generator().manual_seed(seed))
        self.training = (places, function(places))
        others, tests = _random(1000, inputs, generator), _random(4000, inputs, generator)
        self.held_out = {"data": (others, function(others))}
        self.tests = (tests, function(tests))


def _random(count: int, inputs: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.rand(count, inputs, dtype=torch.float64, generator=generator) - 1.0
