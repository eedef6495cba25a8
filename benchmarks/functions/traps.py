"""Functions that trip line searches, each with the outcome a sound optimizer must report.

Every trap is a torch closure over a list of parameters, so that any optimizer can be set on it: `trap.build()` returns
`(parameters, closure)`, where `closure()` clears and fills the gradients and returns the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.functions.variable import rosenbrock
from homestretch.descent.stop import StopReason

Parameters = list[torch.nn.Parameter]
Closure = Callable[[], Tensor]

CONVERGED = frozenset({StopReason.GRADIENT_ZERO, StopReason.GRADIENT_SMALL, StopReason.NO_DECREASE, StopReason.NO_PROGRESS})
"""As low as can be told at this precision."""
STUCK = frozenset({StopReason.NO_DECREASE, StopReason.NO_PROGRESS, StopReason.LIMIT})
"""Something stands in the way of every step: a kink, or noise."""


@dataclass(frozen=True)
class Trap:
    """A function that trips line searches.

    Attributes:
        name: lower case, with hyphens.
        why: what is dangerous in it.
        start: the start, shape (n,); its dtype is the run's.
        loss: x of shape (n,) to a scalar.
        outcomes: the stop reasons that are right; None where a run may still be descending after its last iteration.
            With each the parameters and the loss must be finite, and the loss
            not above that of the start.
        at_most: what the final loss must not exceed.
        iterations: the iterations it may take.
    """

    name: str
    why: str
    start: Tensor
    loss: Callable[[Tensor], Tensor]
    outcomes: frozenset[StopReason | None]
    at_most: float
    iterations: int = 200

    def build(self) -> tuple[Parameters, Closure]:
        """Return fresh parameters at the start and the closure over them."""
        x = torch.nn.Parameter(self.start.clone())

        def closure() -> Tensor:
            x.grad = None
            with torch.enable_grad():
                loss = self.loss(x)
                loss.backward()
            return loss.detach()

        return [x], closure


def _log_border(x: Tensor) -> Tensor:
    return (x - x.log()).sum()


def _overflowing(x: Tensor) -> Tensor:
    return (x.exp() - x).sum() + 1e-3 * (x**4).sum()


def _flat(x: Tensor) -> Tensor:
    return torch.relu(x).sum() + 1.0


def _unbounded(x: Tensor) -> Tensor:
    return -x.sum()


def _kink(x: Tensor) -> Tensor:
    return x[0].abs() + 10 * x[1].abs()


def _noisy(x: Tensor) -> Tensor:
    """A convex quadratic plus a ripple of height 1e-6, too fine for any step: noise that repeats itself.

    Only the quadratic's gradient is given, as a program with truncation error would.
    """
    ripple = 1e-6 * torch.sin(1e9 * x.detach()).sum()
    weights = torch.arange(1, x.numel() + 1, dtype=x.dtype)
    return torch.dot(weights, x.square()) + ripple


def _rosenbrock(x: Tensor) -> Tensor:
    return rosenbrock(x).square().sum()


def _float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


TRAPS: tuple[Trap, ...] = (
    Trap(
        "log-border",
        "x - log x from 100: the first long step leaves the domain, where the loss is NaN; the minimum is 1 at x = 1",
        _float64(100.0),
        _log_border,
        CONVERGED,
        at_most=1.0 + 1e-8,
    ),
    Trap(
        "overflow",
        "exp x - x + x^4 / 1000 from -200: a step along the steep quartic lands where exp overflows to infinity",
        _float64(-200.0, 5.0),
        _overflowing,
        CONVERGED,
        at_most=2.0 + 1e-6,
    ),
    Trap(
        "flat-start",
        "a dead unit: the gradient is exactly zero at the start, and there is no direction to go",
        _float64(-1.0, -2.0, -3.0),
        _flat,
        frozenset({StopReason.GRADIENT_ZERO}),
        at_most=1.0,
    ),
    Trap(
        "unbounded-line",
        "-sum x: every step may be doubled for ever; the bracketing must end while all is finite",
        _float64(0.0, 0.0),
        _unbounded,
        frozenset({StopReason.UNBOUNDED, StopReason.NON_FINITE}),
        at_most=-1.0,
        iterations=50,
    ),
    Trap(
        "kink",
        "|x| + 10 |y|: on the kinks no step satisfies the curvature condition and the gradient never gets small",
        _float64(3.0, 2.0),
        _kink,
        STUCK | {None},
        at_most=4.0,
    ),
    Trap(
        "noise",
        "a quadratic with a ripple of 1e-6 in the loss only: near the minimum differences of the loss mean nothing",
        _float64(1.0, -2.0, 3.0, -4.0, 5.0),
        _noisy,
        STUCK,
        at_most=2e-5,
    ),
    Trap(
        "float32-rosenbrock",
        "float32 and near the minimum: the loss differences drown in rounding while the gradient still points the way",
        torch.tensor([1.0 + 1e-3, 1.0 + 1.9e-3], dtype=torch.float32),
        _rosenbrock,
        CONVERGED,
        at_most=1e-9,
    ),
)
