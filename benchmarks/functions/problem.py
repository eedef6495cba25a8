"""What a test function is: residuals, a start and its known minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

Residuals = Callable[[Tensor], Tensor]


def vector(*values: float) -> Tensor:
    """Return the values as a float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


@cache
def counting(n: int) -> Tensor:
    """Return (1, 2, ..., n) in float64; made once per size, not to be written to."""
    return torch.arange(1, n + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Function:
    """A sum of squares f(x) = sum_i r_i(x)^2 over R^n, for one or many n.

    Attributes:
        name: lower case, with hyphens.
        residuals: x of shape (n,) to r of shape (m,), float64.
        start: the standard start of size n.
        rows: m as a function of n.
        minima: values of f at the known (local) minima of size n, lowest first; a value that is only
            approached as x goes to infinity is in the list as well.
        sizes: the n measured in the benchmark.
        number: the function's number in More, Garbow and Hillstrom (1981); None if it is not in there.
    """

    name: str
    residuals: Residuals
    start: Callable[[int], Tensor]
    rows: Callable[[int], int]
    minima: Callable[[int], tuple[float, ...]]
    sizes: tuple[int, ...]
    number: int | None = None

    def at(self, size: int, factor: float = 1.0) -> Problem:
        """Return the problem of this size, started at `factor` times the standard start."""
        return Problem(self, size, factor)


@dataclass(frozen=True)
class Problem:
    """A function, a size and a start: what a solver is given."""

    function: Function
    size: int
    factor: float = 1.0

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name

    @property
    def start_name(self) -> str:
        """`1x`, `10x` or `100x`: the multiple of the standard start."""
        return f"{self.factor:g}x"

    @property
    def rows(self) -> int:
        """The number of residuals."""
        return self.function.rows(self.size)

    @property
    def minima(self) -> tuple[float, ...]:
        """The known minima of f, lowest first."""
        return self.function.minima(self.size)

    def start(self) -> Tensor:
        """Return a fresh copy of the start, shape (n,)."""
        return self.function.start(self.size) * self.factor

    def residuals(self, x: Tensor) -> Tensor:
        """Return r(x), shape (m,)."""
        return self.function.residuals(x)

    def loss(self, x: Tensor) -> Tensor:
        """Return f(x) = r(x).r(x), a scalar."""
        r = self.function.residuals(x)
        return torch.dot(r, r)

    def is_worth_starting(self, tolerance: float = 1e-8) -> bool:
        """Say whether f and its gradient are finite at the start, and there is something left to do.

        A multiple of the standard start may overflow, lie where f is flat to the last bit (nothing can leave from
        there), or happen to be the solution.
        """
        x = self.start().requires_grad_()
        loss = self.loss(x)
        (gradient,) = torch.autograd.grad(loss, x)
        finite = bool(loss.isfinite() and gradient.isfinite().all() and torch.dot(gradient, gradient).isfinite())
        lowest = min(self.minima)
        return finite and bool(gradient.any()) and loss.item() - lowest > tolerance * (1 + abs(lowest))
