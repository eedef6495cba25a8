"""Continuation: an easy relative of the problem first, then harder ones, each from where the last one ended."""

from __future__ import annotations

from benchmarks.sciml.problem import Problem
from homestretch import Descent, LeastSquares

STAGE_LOSS = 1e-5
"""A stage is left once its loss is below this."""
STAGE_ITERATIONS = 400
"""Or after so many iterations."""


class Continuation:
    """The stages of a problem, one after the other, by one method that keeps its curvature where that still fits.

    Args:
        problem: what is solved; its first stage takes its place at once.
        objective: its least squares, told of every change as of redrawn points.
        descent: the method.
    """

    def __init__(self, problem: Problem, objective: LeastSquares, descent: Descent) -> None:
        self._problem, self._objective, self._descent = problem, objective, descent
        self._left = list(problem.stages)
        self._iterations = 0
        if self._left:
            self._next()

    @property
    def over(self) -> bool:
        """Whether the problem itself has been reached."""
        return not self._left

    def after(self, loss: float) -> None:
        """Take in an iteration of the method, and go on to the next stage where it is time to."""
        if self.over:
            return
        self._iterations += 1
        if loss < STAGE_LOSS or self._iterations >= STAGE_ITERATIONS or self._descent.stop_reason is not None:
            self._next()
            self._descent.renew()

    def _next(self) -> None:
        self._problem.ease(self._left.pop(0))
        self._objective.redraw(self._problem.points)
        self._iterations = 0
