r"""Golden-section search after downhill bracketing, forward passes only.

The search of Hrycej et al. (2025), who take it from Press et al., "Numerical Recipes", chapter 10.1. First a bracket
:math:`a < b < c` with :math:`\phi(b) \le \phi(a), \phi(c)` is found by stepping downhill, each step longer by
:math:`(1 + \sqrt 5) / 2`; then the bracket shrinks by :math:`(\sqrt 5 - 1) / 2` an evaluation (Kiefer, 1953) until it is
shorter than ``tolerance`` times the step at its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from homestretch.line import LineFunction, SearchResult, SearchStatus

_GROW = (1.0 + math.sqrt(5.0)) / 2.0
_SHRINK = _GROW - 1.0


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
        if self.max_evaluations < 3:
            raise ValueError(f"max_evaluations must be at least 3, got {self.max_evaluations}")

    def __call__(self, line: LineFunction) -> SearchResult:
        """Bracket a minimum downhill from 0 and shrink the bracket."""
        trials = _Trials(line, self.max_evaluations)
        bracket = _bracket(trials)
        if bracket is not None:
            self._shrink(trials, *bracket)
        return trials.result()

    def _shrink(self, trials: _Trials, low: float, middle: float, high: float) -> None:
        """Golden sections of ``[low, high]`` around ``middle``; the probe goes into the longer side."""
        middle_loss = trials.seen[middle]
        while high - low > self.tolerance * middle and not trials.spent:
            into_upper = high - middle > middle - low
            side = high if into_upper else low
            probe = middle + (1.0 - _SHRINK) * (side - middle)
            if probe in (low, middle, high):
                break
            probe_loss = trials.loss(probe)
            if probe_loss < middle_loss:
                low, high = (middle, high) if into_upper else (low, middle)
                middle, middle_loss = probe, probe_loss
            elif into_upper:
                high = probe
            else:
                low = probe


class _Trials:
    """Losses by step, up to a limit."""

    def __init__(self, line: LineFunction, limit: int) -> None:
        self.first_step = line.first_step
        self.seen: dict[float, float] = {0.0: line.start_loss}
        self._line = line
        self._limit = limit + 1

    @property
    def spent(self) -> bool:
        return len(self.seen) >= self._limit

    def loss(self, step: float) -> float:
        if step not in self.seen:
            self.seen[step] = self._line.loss(step)
        return self.seen[step]

    def result(self) -> SearchResult:
        step = min(self.seen, key=lambda a: (self.seen[a], a))
        loss = self.seen[step]
        if loss == -math.inf:
            return SearchResult(0.0, loss, None, SearchStatus.UNBOUNDED)
        if step == 0.0:
            finite = any(math.isfinite(f) for a, f in self.seen.items() if a)
            return SearchResult(0.0, loss, None, SearchStatus.NO_DECREASE if finite else SearchStatus.NON_FINITE)
        return SearchResult(step, loss, None, SearchStatus.LIMIT if self.spent else SearchStatus.CONVERGED)


def _bracket(trials: _Trials) -> tuple[float, float, float] | None:
    """Three steps, the middle one lowest; ``None`` if none was found. Contracts first while the trial is not lower."""
    low, middle = 0.0, trials.first_step
    high = None
    while not trials.loss(middle) < trials.seen[0.0]:
        if trials.spent or middle == 0.0:
            return None
        high, middle = middle, middle * (1.0 - _SHRINK)
    while high is None:
        trial = middle + _GROW * (middle - low)
        if trials.spent or not math.isfinite(trial):
            return None
        if trials.loss(trial) < trials.seen[middle]:
            low, middle = middle, trial
        else:
            high = trial
    return low, middle, high
