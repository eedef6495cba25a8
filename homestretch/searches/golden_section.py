r"""Golden-section search after downhill bracketing, forward passes only.

The search of Hrycej et al. (2025), who take it from Press et al., "Numerical Recipes", chapter 10.1. First a bracket
:math:`a < b < c` with :math:`\phi(b) \le \phi(a), \phi(c)` is found by stepping downhill, each step longer by
:math:`(1 + \sqrt 5) / 2`; then the bracket shrinks by :math:`(\sqrt 5 - 1) / 2` an evaluation (Kiefer, 1953) until it is
shorter than ``tolerance`` times the step at its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from homestretch import arguments
from homestretch.line import LineFunction, SearchResult, SearchStatus
from homestretch.searches.trials import Finished, Trial, Trials

_GROW = (1.0 + math.sqrt(5.0)) / 2.0
_SHRINK = _GROW - 1.0
_DROWNED = 1e-2  # of the noise: steps whose promised decrease is below this are not worth a trial


@dataclass(frozen=True)
class GoldenSection:
    """Minimise along the line by golden sections.

    Attributes:
        tolerance: Final length of the bracket, relative to the step. Below the square root of the loss's rounding unit
            nothing is gained, as the loss is flat there.
        max_evaluations: Limit on forward passes in one search.
    """

    tolerance: float = 1e-2
    max_evaluations: int = 60

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise ValueError(f"tolerance must lie between 0 and 1, got {self.tolerance}")
        if arguments.count("max_evaluations", self.max_evaluations) < 3:
            raise ValueError(f"max_evaluations must be at least 3, got {self.max_evaluations}")

    def __call__(self, line: LineFunction) -> SearchResult:
        """Bracket a minimum downhill from 0 and shrink the bracket."""
        trials = Trials(line, self.max_evaluations)
        try:
            self._shrink(trials, *_bracket(trials))
        except Finished as end:
            return end.result

    def _shrink(self, trials: Trials, low: float, middle: Trial, high: float) -> NoReturn:
        """Golden sections of ``[low, high]`` around ``middle``; the probe goes into the longer side."""
        while high - low > self.tolerance * middle.step:
            into_upper = high - middle.step > middle.step - low
            side = high if into_upper else low
            step = middle.step + (1.0 - _SHRINK) * (side - middle.step)
            if step in (low, middle.step, high):
                break
            probe = trials.forward(step)
            if probe.loss < middle.loss:
                low, high = (middle.step, high) if into_upper else (low, middle.step)
                middle = probe
            elif into_upper:
                high = step
            else:
                low = step
        trials.accept(middle, SearchStatus.CONVERGED)


def _bracket(trials: Trials) -> tuple[float, Trial, float]:
    """Three steps, the middle one lowest. Contracts first while the trial is not lower than the start."""
    low, high = 0.0, math.nan
    middle = trials.forward(trials.line.first_step)
    while not middle.loss < trials.start.loss:
        high = middle.step
        if -trials.start.slope * high < _DROWNED * trials.line.noise:
            trials.give_up(SearchStatus.NO_DECREASE)
        middle = trials.forward(_inside(high * (1.0 - _SHRINK), trials))
    while math.isnan(high):
        trial = trials.forward(_inside(middle.step + _GROW * (middle.step - low), trials))
        if trial.loss < middle.loss:
            low, middle = middle.step, trial
        else:
            high = trial.step
    return low, middle, high


def _inside(step: float, trials: Trials) -> float:
    """``step``; ends the search where it has left the numbers."""
    if not 0.0 < step < math.inf:
        trials.give_up(SearchStatus.UNBOUNDED if step else SearchStatus.NO_DECREASE)
    return step
