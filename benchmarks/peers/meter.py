"""One run of one solver on one problem, counted: what it saw, what it cost, when it was best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.functions.problem import Problem
from homestretch.cost import FORWARD, GRADIENT, HESSIAN_PRODUCT, CostMeter

BUDGET = 2000.0
"""Gradient-equivalents a run may spend."""
TOLERANCE = 1e-8
"""A run has reached a value v when f <= v + TOLERANCE (1 + |v|)."""


class Halt(Exception):  # noqa: N818 - it is no error
    """Raised inside the objective to end a run; its text is the run's status."""


def reaches(loss: float, value: float, tolerance: float = TOLERANCE) -> bool:
    """Say whether `loss` is as low as `value`, to the tolerance."""
    return loss <= value + tolerance * (1 + abs(value))


class Meter:
    """The objective as solvers see it, counting by itself whatever is done to it through autograd.

    A forward pass costs 1/3 eq.; the first backward pass through it 2/3 more; each further backward pass 3, as one
    through the gradient's own graph is a Hessian product. So every peer is counted alike, however it drives autograd.

    The run ends with `Halt` at the first evaluation after the lowest known minimum was reached ("solved"), the budget
    spent ("budget") or the time up ("time").

    Args:
        problem: what to minimise.
        budget: gradient-equivalents to spend.
        seconds: time to spend, by the clock.
        clock: wall time unless another is given; processor time does not mind a busy machine.

    Attributes:
        cost: gradient-equivalents spent.
        evaluations: forward passes.
        products: Hessian products.
        iterations: the solver's iterations, where its runner can tell.
        best: the lowest finite f seen.
        best_point: where it was seen, shape (n,); None before the first.
        repeats_are_products: set it to False for a solver that goes back twice through the same graph for the same
            gradient; each time then costs 2/3.
        trace: (cost, f) at every new lowest f; the cost includes that point's gradient if it was asked for.
    """

    def __init__(
        self,
        problem: Problem,
        budget: float = BUDGET,
        seconds: float = 20.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.problem = problem
        self.budget = budget
        self.seconds = seconds
        self.cost = 0.0
        self.evaluations = 0
        self.products = 0
        self.iterations = 0
        self.best = math.inf
        self.best_point: Tensor | None = None
        self.repeats_are_products = True
        self.trace: list[tuple[float, float]] = []
        self._noted_at = 0
        self._unpaid = False
        self._target = min(problem.minima)
        self._clock = clock
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Time since the run began, in seconds by the meter's clock."""
        return self._clock() - self._started

    def start(self) -> Tensor:
        """Return a fresh copy of the start, shape (n,)."""
        return self.problem.start()

    def tick(self, *_: object, **__: object) -> None:
        """Count an iteration; takes any arguments, so that it serves as a callback."""
        self.iterations += 1

    def loss(self, x: Tensor) -> Tensor:
        """Return f(x), counted; differentiable if x is."""
        self._halt_if_over()
        self.evaluations += 1
        self.cost += FORWARD
        if torch.is_grad_enabled() and x.requires_grad:
            x = x.view_as(x)
            x.register_hook(self._backward_hook(self.evaluations))
        value = self.problem.loss(x)
        self._note_at(x, value.item())
        return value

    def observe(self, x: Tensor, value: float) -> None:
        """Take note of f = `value` at x, which a function that counts by itself has evaluated and pays for by `spend`."""
        self._halt_if_over()
        self.evaluations += 1
        self._note_at(x, value)

    def spend(self, price: float) -> None:
        """Add a price to the cost; it is part of what the last evaluation cost, if that was the first payment since."""
        self.cost += price
        if self._noted_at == self.evaluations and self._unpaid:
            self.trace[-1] = (self.cost, self.best)
        self._unpaid = False

    def count_product(self) -> None:
        """Count a Hessian product made outside autograd's sight."""
        self._halt_if_over()
        self.products += 1
        self.cost += HESSIAN_PRODUCT

    def _backward_hook(self, evaluation: int) -> Callable[[Tensor], None]:
        seen_before = False

        def hook(_: Tensor) -> None:
            nonlocal seen_before
            if seen_before and self.repeats_are_products:
                self.count_product()
                return
            seen_before = True
            self.cost += GRADIENT - FORWARD
            if self._noted_at == evaluation:
                self.trace[-1] = (self.cost, self.best)

        return hook

    def _note_at(self, x: Tensor, value: float) -> None:
        self._unpaid = True
        self._note(value)
        if self._noted_at == self.evaluations:
            self.best_point = x.detach().clone()

    def _note(self, value: float) -> None:
        if math.isfinite(value) and value < self.best:
            self.best = value
            self.trace.append((self.cost, value))
            self._noted_at = self.evaluations

    def _halt_if_over(self) -> None:
        if reaches(self.best, self._target):
            raise Halt("solved")
        if self.cost >= self.budget:
            raise Halt("budget")
        if self.elapsed > self.seconds:
            raise Halt("time")


class TorchClosure:
    """The objective as torch optimizers take it, over one parameter of shape (n,).

    `closure()` returns the loss and fills `.grad`; `closure(False)` and `closure.loss()` run forward only, for the
    optimizers that ask (the former is torchzero's convention, the latter ours).
    """

    def __init__(self, counter: Meter) -> None:
        self.counter = counter
        self.parameter = torch.nn.Parameter(counter.start())
        self.meter = CostMeter()
        self.version = 0

    def __call__(self, backward: bool = True) -> Tensor:
        """Return the loss, and fill the parameter's gradient unless told not to."""
        if not backward:
            self.meter.count_forward()
            return self.counter.loss(self.parameter).detach()
        with torch.enable_grad():
            self.parameter.grad = None
            loss = self.counter.loss(self.parameter)
            loss.backward()
        self.meter.count_gradient()
        return loss.detach()

    def loss(self) -> float:
        """Return the loss by a forward pass."""
        with torch.no_grad():
            return float(self(backward=False))
