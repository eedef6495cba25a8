"""A problem as a function of one vector, and the meter that counts and traces a run on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.peers.meter import Halt, Meter
from benchmarks.sciml.problem import Problem
from benchmarks.sciml.trace import Sample, Tracer
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
    def put(self, x: Tensor) -> None:
        """Put x into the network."""
        for parameter, piece in zip(self.problem.module.parameters(), self.split(x), strict=True):
            parameter.copy_(piece)


class TracedMeter(Meter):
    """A meter that also keeps the best point, limits iterations and takes samples of loss and error now and then.

    Samples are of the best point so far; the time that they take is not the solver's and is put on no clock.

    Args:
        flat: what to minimise.
        budget: gradient-equivalents to spend.
        seconds: processor time to spend.
        iterations: iterations to spend, as far as the solver tells of them.
        update_flops: floating-point operations of one dense update, for a quasi-Newton method; priced by the gradient's.

    Attributes:
        best_x: the point of the lowest loss seen since the function last changed.
        tracer: the clock and the trace.
        carried: what a solver's runner leaves for its next leg, by name.
    """

    def __init__(
        self,
        flat: FlatProblem,
        budget: float = math.inf,
        seconds: float = math.inf,
        iterations: float = math.inf,
        update_flops: float = 0.0,
    ) -> None:
        self.tracer = Tracer(flat.problem)
        super().__init__(flat, budget, seconds)  # type: ignore[arg-type]
        self.flat = flat
        self.limit = iterations
        self.best_x = flat.start()
        self.carried: dict[str, object] = {}
        self._update_price = update_flops / flat.problem.gradient_flops() if update_flops else 0.0
        self._leg_ends = self._next_redraw()
        self.tracer.clock.restart()

    @property
    def elapsed(self) -> float:
        """Processor time since the run began, in seconds: other people's work on the machine is not the solver's."""
        return self.tracer.clock.processor

    @property
    def samples(self) -> list[Sample]:
        """The trace."""
        return self.tracer.samples

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
        self.cost += count * self._update_price
        if self.iterations >= self.limit:
            raise Halt("iterations")
        if self.iterations >= self._leg_ends:
            raise Halt("redraw")

    def redraw(self) -> None:
        """Put the best point into the network, draw new points and begin the next leg."""
        self.flat.put(self.best_x)
        self.flat.problem.redraw()
        self.best = math.inf
        self._leg_ends = self._next_redraw()

    def sample(self) -> Sample:
        """Take a sample of the best point now."""
        self.flat.put(self.best_x)
        return self.tracer.take(self.cost, self.iterations, self.best)

    def _keep(self, x: Tensor) -> None:
        if self._noted_at == self.evaluations:
            self.best_x = x.detach().clone()
        if self.tracer.due(self.cost):
            self.sample()

    def _next_redraw(self) -> float:
        every = self.flat.problem.redraw_every
        return (self.iterations // every + 1) * every if every else math.inf
