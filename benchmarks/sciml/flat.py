"""A problem as a function of one vector, and the meter that counts and traces a run on it."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peers.meter import Halt, Meter
from benchmarks.sciml.problem import Problem
from homestretch.cost import GRADIENT


class _Loss(nn.Module):
    """The problem's loss as a module's output, so that `functional_call` can put other parameters in place."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.net = problem.module
        self._problem = problem

    def forward(self) -> Tensor:
        return self._problem.loss()


class FlatProblem:
    """A problem over a vector x of shape (n,): the network's parameters in their order, float64.

    Attributes:
        problem: the problem.
        name: its name.
        size: n.
        shapes: the parameters' shapes.
        minima: no minimum is known to stop at, so this is minus infinity alone.
    """

    minima = (-math.inf,)

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.name = problem.name
        self.size = problem.size
        self.shapes = [p.shape for p in problem.module.parameters()]
        self._whole = _Loss(problem)
        self._names = [name for name, _ in self._whole.named_parameters()]

    def start(self) -> Tensor:
        """Return the network's parameters, copied into one vector."""
        return torch.cat([p.detach().reshape(-1) for p in self.problem.module.parameters()])

    def split(self, x: Tensor) -> list[Tensor]:
        """Return views of x in the parameters' shapes."""
        pieces = x.split([shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss at x, differentiable in x."""
        return torch.func.functional_call(self._whole, dict(zip(self._names, self.split(x), strict=True)), ())

    @torch.no_grad()
    def error(self, x: Tensor) -> float:
        """Put x into the network and return the problem's error."""
        for parameter, piece in zip(self.problem.module.parameters(), self.split(x), strict=True):
            parameter.copy_(piece)
        return self.problem.error()


class Sample(NamedTuple):
    """One line of a trace, of the best point so far."""

    seconds: float
    gradient_equivalents: float
    loss: float
    error: float


class TracedMeter(Meter):
    """A meter that also keeps the best point, limits iterations and takes samples of loss and error now and then.

    Samples are taken whenever the cost has grown by an eighth; the time that an error takes is not the solver's and is
    put on no clock.

    Args:
        flat: what to minimise.
        budget: gradient-equivalents to spend.
        seconds: wall time to spend.
        iterations: iterations to spend, as far as the solver tells of them.

    Attributes:
        best_x: the point of the lowest loss seen since the function last changed.
        samples: the trace.
        carried: what a solver's runner leaves for its next leg, by name.
    """

    GROWTH = 1.125

    def __init__(
        self, flat: FlatProblem, budget: float = math.inf, seconds: float = math.inf, iterations: float = math.inf
    ) -> None:
        super().__init__(flat, budget, seconds)  # type: ignore[arg-type]
        self.flat = flat
        self.limit = iterations
        self.best_x = flat.start()
        self.samples: list[Sample] = []
        self.carried: dict[str, object] = {}
        self._due = 0.0
        self._leg_ends = self._next_redraw()

    @property
    def progress(self) -> float:
        """The share of the budget, the time or the iterations that is spent, whichever is largest."""
        return max(self.cost / self.budget, self.elapsed / self.seconds, self.iterations / self.limit)

    @property
    def iterations_left(self) -> float:
        """Iterations until the run or its leg ends."""
        return min(self.limit, self._leg_ends) - self.iterations

    def start(self) -> Tensor:
        """Return a copy of the point to start, or to go on, from."""
        return self.best_x.clone()

    def loss(self, x: Tensor) -> Tensor:
        value = super().loss(x)
        self._keep(x)
        return value

    def count_external(self, loss: float, x: Tensor, gradients: int, iterations: int) -> None:
        """Count what a solver outside torch has done since the last call, and where it stands."""
        self.evaluations += gradients
        self.cost += gradients * GRADIENT
        self._note(loss)
        self._keep(x)
        self.tick(count=iterations)
        self._halt_if_over()

    def tick(self, *_: object, count: int = 1, **__: object) -> None:
        """Count iterations; halt where the run or its leg is at its end."""
        self.iterations += count
        if self.iterations >= self.limit:
            raise Halt("iterations")
        if self.iterations >= self._leg_ends:
            raise Halt("redraw")

    def redraw(self) -> None:
        """Put the best point into the network, draw new points and begin the next leg."""
        self.flat.error(self.best_x)
        self.flat.problem.redraw()
        self.best = math.inf
        self._leg_ends = self._next_redraw()

    def sample(self) -> Sample:
        """Take a sample of the best point now."""
        began = time.perf_counter()
        elapsed = self.elapsed
        sample = Sample(elapsed, self.cost, self.best, self.flat.error(self.best_x))
        self.samples.append(sample)
        self._started += time.perf_counter() - began
        return sample

    def restart_clock(self) -> None:
        """Set the clock to zero, after a compilation that is not to count."""
        self._started = time.perf_counter()

    def _keep(self, x: Tensor) -> None:
        if self._noted_at == self.evaluations:
            self.best_x = x.detach().clone()
        if self.cost >= self._due:
            self._due = max(1.0, self.cost * self.GROWTH)
            self.sample()

    def _next_redraw(self) -> float:
        every = self.flat.problem.redraw_every
        return (self.iterations // every + 1) * every if every else math.inf
