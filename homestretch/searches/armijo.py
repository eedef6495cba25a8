r"""Sufficient decrease by interpolation, forward passes only.

A step is accepted when it meets Armijo's condition (L. Armijo, Pac. J. Math. 16 (1966))

.. math:: \phi(a) - \phi(0) \le c\, a\, \phi'(0).

A step that does not is replaced by the minimum of a parabola, then of cubics, kept between a tenth and a half of it (J. Dennis,
R. Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, algorithm A6.3.1). A first step that is only a guess and
succeeds may be far too short: it is moved out to the minimum of the parabola, and on while that pays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from homestretch import arguments
from homestretch.line import LineFunction, SearchResult, SearchStatus
from homestretch.searches.interpolation import cubic_by_losses, quadratic, secant
from homestretch.searches.trials import Finished, Trial, Trials

_LEAST, _MOST = 0.1, 0.5  # next step, in steps that were too long
_NEAR = 2.0  # a step is left as it is if the parabola's minimum is less than this many steps away


@dataclass(frozen=True)
class Armijo:
    """Backtrack from the first step until the loss decreases sufficiently.

    Attributes:
        decrease: Share of the decrease promised by the slope that must be made (c), in (0, 1/2).
        expand: Largest growth of a first step that is only a guess, at a time; 1 for none.
        max_evaluations: Limit on evaluations in one search.
    """

    decrease: float = 1e-4
    expand: float = 10.0
    max_evaluations: int = 40

    def __post_init__(self) -> None:
        if not 0.0 < self.decrease < 0.5:
            raise ValueError(f"decrease must lie between 0 and 1/2, got {self.decrease}")
        if not self.expand >= 1.0:
            raise ValueError(f"expand must be at least 1, got {self.expand}")
        arguments.count("max_evaluations", self.max_evaluations)

    def __call__(self, line: LineFunction) -> SearchResult:
        """Find a step of sufficient decrease."""
        try:
            self._search(Trials(line, self.max_evaluations))
        except Finished as end:
            return end.result

    def _search(self, trials: Trials) -> NoReturn:
        trial, before = trials.forward(trials.line.first_step), trials.start
        if not trials.line.scaled and trials.sufficient(trial, self.decrease):
            self._improve(trials, trial)
        while True:
            if trials.sufficient(trial, self.decrease):
                trials.accept(trial, SearchStatus.CONVERGED)
            if trials.drowned(trial, self.decrease):  # only the slope can tell
                trial = trials.graded(trial.step)
                if trials.unnoticeable(trial, self.decrease):
                    trials.accept(trial, SearchStatus.ROUNDING)
            step = _shorter(trials.start, before, trial)
            if step == 0.0:
                trials.give_up(SearchStatus.RESOLVED)
            before, trial = trial, trials.forward(step)

    def _improve(self, trials: Trials, trial: Trial) -> NoReturn:
        """Move a first guess that succeeds out to where the parabola has its minimum, again and again."""
        while True:
            minimum = quadratic(trials.start, trial)
            most = self.expand * trial.step
            step = most if math.isnan(minimum) else min(minimum, most)
            if not step < math.inf:
                trials.accept(trial, SearchStatus.UNBOUNDED)
            if step < _NEAR * trial.step:  # sufficient decrease keeps the minimum above half the step
                trials.accept(trial, SearchStatus.CONVERGED)
            moved = trials.forward(step)
            if not (moved.loss < trial.loss and trials.sufficient(moved, self.decrease)):
                trials.accept(trial, SearchStatus.CONVERGED)
            trial = moved


def _shorter(start: Trial, before: Trial, trial: Trial) -> float:
    """The next step back from ``trial``; ``before`` is the trial before it, the start if there was none."""
    if not trial.finite:
        return _LEAST * trial.step
    if not math.isnan(trial.slope):
        step = secant(start, trial)
    elif before.step > 0.0 and before.finite:
        step = cubic_by_losses(start, before, trial)
    else:
        step = quadratic(start, trial)
    return min(max(step, _LEAST * trial.step), _MOST * trial.step) if step > 0.0 else _MOST * trial.step
