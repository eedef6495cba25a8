"""Our own methods on the same problems, from the same warm-up, as `TwoPhase` starts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

import homestretch
from benchmarks.results_io import Record, fingerprint
from benchmarks.sciml.continuation import Continuation
from benchmarks.sciml.problem import Problem
from benchmarks.sciml.trace import Sample, Tracer, kept
from homestretch import (
    LBFGS,
    Descent,
    GaussNewtonCG,
    LevenbergMarquardt,
    NewtonCG,
    NystromPreconditioner,
    SelfScaledBroyden,
)
from homestretch.errors import HomestretchError
from homestretch.two_phase.hand_over import SecondPhase

_FILES = ("auto.py", "blocks.py", "cost.py", "line.py", "memory.py", "moments.py", "preconditioners.py", "vectors.py")
ENGINE = ("descent", "directions", "searches", "objective", "two_phase/hand_over.py", *_FILES)
"""What of the package decides how a run goes."""
UPDATE_FLOPS = 12.0
"""Floating-point operations of a dense quasi-Newton iteration over n^2: six products or updates of an n x n matrix."""


@dataclass(frozen=True)
class Method:
    """One line of the comparison.

    Attributes:
        method: the name in the tables.
        make: makes the method over a list of parameters; None for what `second="auto"` picks.
        library: always ours.
        largest: parameters beyond which it is not run.
        continuation: whether it goes through the problem's stages; problems without any leave it out.
    """

    method: str
    make: Callable[[list[Tensor]], Descent] | None
    library: str = "homestretch"
    largest: float = math.inf
    continuation: bool = False

    @property
    def version(self) -> str:
        """What changes whenever the code that a run depends on does."""
        return engine_version()


def _newton_nystrom(parameters: list[Tensor]) -> Descent:
    # The preconditioner is made for a damped Hessian; rank and age are those of Rathore et al. (2024).
    return NewtonCG(parameters, damping=1e-3, nystrom=NystromPreconditioner(rank=60, every=20))


METHODS: tuple[Method, ...] = (
    Method("auto", None),
    Method("auto-continuation", None, continuation=True),
    Method("SelfScaledBroyden", SelfScaledBroyden),
    Method("LevenbergMarquardt", LevenbergMarquardt, largest=2000),
    Method("LBFGS", partial(LBFGS)),
    Method("GaussNewtonCG", partial(GaussNewtonCG)),
    Method("NewtonCG-Nystrom", _newton_nystrom),
)


@cache
def engine_version() -> str:
    """Return what changes whenever the code of the convex phase, or of the choice among its methods, does."""
    package = Path(homestretch.__file__).parent
    return fingerprint(*(package / name for name in ENGINE))


@dataclass(frozen=True)
class Limits:
    """Where a run ends: processor time, iterations, gradient-equivalents."""

    seconds: float = math.inf
    iterations: float = math.inf
    budget: float = math.inf


@dataclass
class Run:
    """What came of a run.

    Attributes:
        samples: the trace.
        status: `budget`, `time`, `iterations`, `stopped` or `failed`.
        detail: the reason of a stop, and for `auto` its choice.
        evaluations: passes over the points.
        iterations: iterations.
    """

    samples: list[Sample]
    status: str
    detail: str
    evaluations: int
    iterations: int

    def summary(self) -> Record:
        """Return what a table keeps: the end, with the error and the held-out loss of the sample that a user would keep."""
        best, last = kept(self.samples), self.samples[-1]
        return {
            "loss": last.loss,
            "error": best.error,
            "held_out": best.held_out,
            "gradient_equivalents": last.gradient_equivalents,
            "evaluations": self.evaluations,
            "iterations": self.iterations,
            "seconds": last.seconds,
            "cpu_seconds": last.cpu_seconds,
            "status": self.status,
            "detail": self.detail,
        }


def run_own(method: Method, problem: Problem, adam: torch.optim.Optimizer, limits: Limits) -> Run:
    """Run one of our methods from where the warm-up `adam` ended, redrawing points where the problem does."""
    objective = problem.least_squares()
    tracer = Tracer(problem)
    phase = SecondPhase(method.make or "auto", objective.parameters, objective)
    tracer.clock.restart()
    phase.start(adam)
    descent = phase.get()
    dense = isinstance(descent, SelfScaledBroyden)
    update_price = UPDATE_FLOPS * problem.size**2 / objective.flops_per_gradient if dense else 0.0
    continuation = Continuation(problem, objective, descent) if method.continuation else None
    iterations, status, detail, loss = 0, "", "", math.nan
    while not status:
        try:
            loss = float(descent.step(objective) or 0.0)
        except HomestretchError as error:
            status, detail = "failed", f"{type(error).__name__}: {error}"
            break
        iterations += 1
        if continuation is not None:
            continuation.after(loss)
        cost = objective.meter.gradient_equivalents + iterations * update_price
        if descent.stop_reason is not None:  # a stage's end is taken back by the next
            status, detail = "stopped", descent.stop_reason.name
        else:
            status = _over(limits, tracer.clock.processor, iterations, cost)
        easy = continuation is not None and not continuation.over  # what is solved then is not the problem
        if (tracer.due(cost) and not easy) or status:
            tracer.take(cost, iterations, loss)
        if problem.redraw_every and iterations % problem.redraw_every == 0:
            problem.redraw()
            objective.redraw(problem.points)
    if method.make is None:
        detail = f"{type(descent).__name__}: {phase.reason}" + (f"; {detail}" if detail else "")
    passes = round(objective.meter.forwards + objective.meter.gradients)
    return Run(tracer.samples, status, detail, passes, iterations)


def _over(limits: Limits, seconds: float, iterations: int, cost: float) -> str:
    """Why a run is over, in the words of the peers' meter; empty while it is not."""
    if iterations >= limits.iterations:
        return "iterations"
    if cost >= limits.budget:
        return "budget"
    return "time" if seconds > limits.seconds else ""
