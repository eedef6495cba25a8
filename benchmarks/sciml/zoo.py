"""The "zoo": fitting a function of one variable with one hidden tanh layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp, held_out_generator, relative_l2

TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": lambda x: torch.sin(math.pi * x),
    "runge": lambda x: 1.0 / (1.0 + 25.0 * x**2),
}
WIDTHS = (64, 128, 256)


class Zoo(Problem):
    """`u(x) = target(x)` on [-1, 1], 2,003 equidistant training points; relative L2 error on 4,001 test points."""

    def __init__(
        self, seed: int = 0, target: str = "sin", width: int = 64, points: int = 2003, warm_up: WarmUp | None = None
    ) -> None:
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}")
        self.name = f"zoo-{target}-{width}"
        self.module = tanh_network((1, width, 1), seed)
        self.warm_up = warm_up or WarmUp()
        self.inputs = torch.linspace(-1, 1, points, dtype=torch.float64).unsqueeze(1)
        self.targets = TARGETS[target](self.inputs)
        others = 2 * torch.rand(1000, 1, dtype=torch.float64, generator=held_out_generator(seed)) - 1
        self.held_out = {"data": (others, TARGETS[target](others))}
        self._test_inputs = torch.linspace(-1, 1, 4001, dtype=torch.float64).unsqueeze(1)
        self._test_targets = TARGETS[target](self._test_inputs)

    @property
    def points(self) -> Points:
        return {"data": (self.inputs, self.targets)}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        inputs, targets = points["data"]
        return {"data": module(inputs) - targets}

    @torch.no_grad()
    def error(self) -> float:
        return relative_l2(self.module(self._test_inputs), self._test_targets)
