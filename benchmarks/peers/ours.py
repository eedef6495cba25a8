"""Our own methods, counted like everyone else's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import homestretch
from benchmarks.peers.meter import Meter, TorchClosure
from benchmarks.results_io import fingerprint
from homestretch import Descent, LeastSquares
from homestretch.cost import CostMeter

_FILES = ("blocks.py", "cost.py", "line.py", "preconditioners.py", "vectors.py")
ENGINE = ("descent", "directions", "searches", "objective", *_FILES)

Make = Callable[[list[torch.nn.Parameter]], Descent]


@cache
def engine_version() -> str:
    """Return what changes whenever the code of the convex phase does."""
    package = Path(homestretch.__file__).parent
    return fingerprint(*(package / name for name in ENGINE))


class PassedOn(CostMeter):
    """A cost meter whose prices are paid by the benchmark's meter: what our methods count is what they are charged."""

    def __init__(self, counter: Meter) -> None:
        super().__init__()
        self._counter = counter

    def _add(self, price: float) -> None:
        super()._add(price)
        self._counter.spend(price)


def least_squares(meter: Meter) -> tuple[torch.nn.Parameter, LeastSquares]:
    """Return a parameter at the start and the problem as a sum of squares over it, with all products, counted.

    Hessian products cost 3, Gauss-Newton products 2, a Jacobian a backward pass (2/3) for each of its rows or columns,
    whichever are fewer, and dense algebra its floating-point operations over 6 for each residual and unknown.
    """
    x = torch.nn.Parameter(meter.start())

    def residuals() -> Tensor:
        r = meter.problem.residuals(x)
        found = r.detach()
        meter.observe(x, torch.dot(found, found).item())
        return r

    return x, LeastSquares(residuals, [x], reduction="sum", meter=PassedOn(meter))


def run_ours(meter: Meter, make: Make) -> str:
    """Step one of our methods that needs gradients only until the meter halts it or it stops; return its stop reason."""
    closure = TorchClosure(meter)
    return _step(meter, make([closure.parameter]), closure)


def run_ours_with_products(meter: Meter, make: Make) -> str:
    """The same for a method that needs products or residuals."""
    x, function = least_squares(meter)
    try:
        return _step(meter, make([x]), function)
    finally:
        paid = function.meter
        meter.evaluations = round(paid.forwards + paid.gradients)
        meter.products = round(paid.hessian_products + paid.gauss_newton_products)


def _step(meter: Meter, optimizer: Descent, closure: Callable[[], Tensor]) -> str:
    while optimizer.stop_reason is None:
        optimizer.step(closure)
        meter.tick()
    return optimizer.stop_reason.name
