"""What a problem of the benchmark is, and the first phase that all methods start from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from homestretch import LeastSquares

Points = dict[str, Any]
"""For each term a tensor, or a tuple of tensors, with one row a point."""


@dataclass(frozen=True)
class WarmUp:
    """Full-batch Adam with a linear ramp, then a cosine to zero.

    Attributes:
        steps: number of steps.
        learning_rate: the highest rate.
        ramp: steps until it is reached.
    """

    steps: int = 2000
    learning_rate: float = 3e-3
    ramp: int = 100

    def factor(self, step: int) -> float:
        """Return the share of the highest rate at a step, counted from 0."""
        if step < self.ramp:
            return (step + 1) / self.ramp
        return 0.5 * (1.0 + math.cos(math.pi * (step - self.ramp) / max(self.steps - self.ramp, 1)))


class Problem(ABC):
    """A sum of squares to be made small by the parameters of a network.

    The loss is `sum over terms of weight * mean(residual^2)`. `residuals()` returns each term already multiplied by
    `sqrt(weight / number of its points)`, so the loss is the plain sum of their squares, `||r||^2`, with no half before it:
    the gradient is `2 J'r` and the Gauss-Newton matrix `2 J'J`.

    Attributes:
        name: the name in the tables.
        module: the network, float64.
        warm_up: the first phase.
        weights: the terms' weights, 1 where none is given.
        held_out: points that no method trains on; the loss there tells which of a run's points to keep.
        redraw_every: iterations of the second phase between redraws of the points, 0 for never.
        stages: the problem in growing difficulty, itself the last; empty if there is nothing to ease.
    """

    name: str
    module: nn.Sequential
    warm_up: WarmUp
    weights: ClassVar[Mapping[str, float]] = {}
    held_out: Points
    redraw_every: int = 0
    stages: ClassVar[Sequence[float]] = ()

    def ease(self, stage: float) -> None:
        """Put one of ``stages`` in the place of the problem."""
        raise NotImplementedError(f"{self.name} has no stages")

    @property
    @abstractmethod
    def points(self) -> Points:
        """The points that are trained on, by term."""

    @abstractmethod
    def terms(self, module: nn.Sequential, points: Points) -> dict[str, Tensor]:
        """Return each term's residuals at its points, neither weighted nor scaled, differentiable; row i depends on point i."""

    @abstractmethod
    def error(self) -> float:
        """Return the published error on the stated grid."""

    def residuals(self) -> dict[str, Tensor]:
        """Return the scaled residuals of each term at the current parameters, one vector a term, differentiable."""
        return self._scaled(self.points)

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Return the loss at the points that no method trains on."""
        return float(total(self._scaled(self.held_out)))

    def least_squares(self) -> LeastSquares:
        """Return the problem as our methods take it; dense algebra is priced by the FLOPs of its gradient."""
        flops = self.gradient_flops()
        return LeastSquares(self.terms, self.module, self.points, weights=self.weights, flops_per_gradient=flops)

    def gradient_flops(self) -> float:
        """Return the floating-point operations of the matrix products in one gradient; elementwise work is left out."""
        with FlopCounterMode(display=False) as counter:
            self.loss().backward()
        self.module.zero_grad()
        return float(counter.get_total_flops())

    def _scaled(self, points: Points) -> dict[str, Tensor]:
        return {name: scaled(r, self.weights.get(name, 1.0)) for name, r in self.terms(self.module, points).items()}

    def loss(self) -> Tensor:
        """Return the loss at the current parameters, differentiable."""
        return total(self.residuals())

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.module.parameters())

    def redraw(self) -> None:  # noqa: B027 - most problems keep their points
        """Draw new points, where the problem does so."""


def total(residuals: dict[str, Tensor]) -> Tensor:
    """Return the sum of squares over all terms."""
    return torch.stack([r @ r for r in residuals.values()]).sum()


def scaled(residual: Tensor, weight: float = 1.0) -> Tensor:
    """Return a residual as a vector whose squared norm is `weight * mean(residual^2)`."""
    return residual.reshape(-1) * math.sqrt(weight / residual.numel())


def held_out_generator(seed: int) -> torch.Generator:
    """Return a generator for held-out points, apart from the one that a seed's training points come from."""
    return torch.Generator().manual_seed(seed + 10**6)


def relative_l2(values: Tensor, exact: Tensor) -> float:
    """Return `||values - exact|| / ||exact||`."""
    return float(torch.linalg.vector_norm(values - exact) / torch.linalg.vector_norm(exact))


def grid(*axes: Tensor) -> Tensor:
    """Return all combinations of the axes' values, one a row, the last axis running fastest."""
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def warm_up(problem: Problem) -> torch.optim.Adam:
    """Run the problem's first phase and return the optimizer, whose moments a second phase may adopt."""
    plan = problem.warm_up
    optimizer = torch.optim.Adam(problem.module.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, plan.factor)
    for _ in range(plan.steps):
        optimizer.zero_grad()
        problem.loss().backward()
        optimizer.step()
        schedule.step()
    return optimizer
