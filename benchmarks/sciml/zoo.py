"""The "zoo": fitting a function of one variable with one hidden tanh layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import WarmUp, held_out_generator
from benchmarks.sciml.regression import Regression

TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": lambda x: torch.sin(math.pi * x),
    "runge": lambda x: 1.0 / (1.0 + 25.0 * x**2),
}
WIDTHS = (64, 128, 256)


class Zoo(Regression):
    """`u(x) = target(x)` on [-1, 1], 2,003 equidistant training points; relative L2 error on 4,001 test points."""

    def __init__(
        self, seed: int = 0, target: str = "sin", width: int = 64, points: int = 2003, warm_up: WarmUp | None = None
    ) -> None:
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}")
        self.name = f"zoo-{target}-{width}"
        self.module = tanh_network((1, width, 1), seed)
        self.warm_up = warm_up or WarmUp()
        inputs, tests = (torch.linspace(-1, 1, n, dtype=torch.float64).unsqueeze(1) for n in (points, 4001))
        self.training, self.tests = (inputs, TARGETS[target](inputs)), (tests, TARGETS[target](tests))
        others = 2 * torch.rand(1000, 1, dtype=torch.float64, generator=held_out_generator(seed)) - 1
        self.held_out = {"data": (others, TARGETS[target](others))}
