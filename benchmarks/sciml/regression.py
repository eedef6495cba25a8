"""Regression: a network of one output fitted to the values of a function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.sciml.problem import Points, Problem, relative_l2

Values = tuple[Tensor, Tensor]
"""Inputs, one row a point, and the function's values there, one row a point."""


class Regression(Problem):
    """`u(x) = target(x)` in the mean square over the training points; the error is the relative L2 norm at the test points.

    Attributes:
        training: what is trained on.
        tests: where the error is taken.
    """

    training: Values
    tests: Values

    @property
    def points(self) -> Points:
        return {"data": self.training}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        inputs, targets = points["data"]
        return {"data": module(inputs) - targets}

    @torch.no_grad()
    def error(self) -> float:
        inputs, targets = self.tests
        return relative_l2(self.module(inputs), targets)
