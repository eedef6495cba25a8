r"""The line search of More and Thuente (1994) for the strong Wolfe conditions.

.. math:: \phi(a) \le \phi(0) + c_1 a \phi'(0), \qquad |\phi'(a)| \le c_2 |\phi'(0)|

Source: J. More, D. Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM TOMS 20 (1994): the interval of
section 2, the auxiliary function of section 3, the trial steps of section 4.

Beyond it: losses that differ by less than the noise count as equal, so that slopes alone decide there, and a step may then meet
the first condition in the approximate form of Hager and Zhang (2005); and a trial that is not finite bounds all later steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from homestretch import arguments
from homestretch.line import LineFunction, SearchResult, SearchStatus
from homestretch.searches.first_step import first_step
from homestretch.searches.interpolation import cubic, quadratic, secant
from homestretch.searches.trials import Finished, Trial, Trials

_LEAST_GROWTH, _MOST_GROWTH = 1.1, 4.0  # of the last move, while nothing is bracketed
_SHRINK = 0.66  # two trials must shrink the interval by this factor, or it is bisected
_CONTRACT = 0.1  # of a first step that is not finite


@dataclass(frozen=True)
class StrongWolfe:
    """Safeguarded cubic and quadratic steps until the strong Wolfe conditions hold.

    Attributes:
        decrease: Sufficient decrease (c1), in (0, 1/2).
        curvature: Largest slope at the step, relative to that at the start (c2), in (decrease, 1). Small values search more
            exactly.
        max_evaluations: Limit on evaluations in one search.
    """

    decrease: float = 1e-4
    curvature: float = 0.9
    max_evaluations: int = 40

    def __post_init__(self) -> None:
        if not 0.0 < self.decrease < 0.5:
            raise ValueError(f"decrease must lie between 0 and 1/2, got {self.decrease}")
        if not self.decrease < self.curvature < 1.0:
            raise ValueError(f"curvature must lie between decrease and 1, got {self.curvature}")
        arguments.count("max_evaluations", self.max_evaluations)

    def __call__(self, line: LineFunction) -> SearchResult:
        """Find a step that meets the conditions."""
        trials = Trials(line, self.max_evaluations)
        try:
            step = first_step(trials, lambda probe: self._accept_if_done(trials, probe))
            interval = _Interval(trials.start, line.noise, self.decrease * line.start_slope)
            while True:
                trial = trials.graded(step)
                self._accept_if_done(trials, trial)
                step = interval.next(trial)
                if interval.resolved(step):
                    trials.give_up(SearchStatus.RESOLVED)
        except Finished as end:
            return end.result

    def _accept_if_done(self, trials: Trials, trial: Trial) -> None:
        if not abs(trial.slope) <= self.curvature * -trials.start.slope:
            return
        if trials.sufficient(trial, self.decrease):
            trials.accept(trial, SearchStatus.CONVERGED)
        if trials.drowned(trial, self.decrease) and trials.unnoticeable(trial, self.decrease):
            trials.accept(trial, SearchStatus.ROUNDING)


class _Interval:
    """The interval of uncertainty: its better end ``low``, its other end ``high`` once a minimum is bracketed.

    Args:
        start: The trial at step 0.
        noise: Losses that differ by less are equal.
        tilt: Slope of the line of sufficient decrease.
    """

    def __init__(self, start: Trial, noise: float, tilt: float) -> None:
        self.low = start
        self.high: Trial | None = None
        self._start = start
        self._noise = noise
        self._tilt = tilt
        self._wall = math.inf
        self._auxiliary = True  # stage 1: no trial yet has sufficient decrease and a slope that is not negative
        self._widths = (math.inf, math.inf)

    def next(self, trial: Trial) -> float:
        """Put ``trial`` into the interval and return the next step."""
        if not trial.finite:
            self._wall = trial.step
            return self._inside(self.low.step + (_CONTRACT if self.low is self._start else 0.5) * (trial.step - self.low.step))
        decreased = trial.loss <= self._start.loss + self._tilt * trial.step
        if decreased and trial.slope >= 0.0:
            self._auxiliary = False
        # While no trial has sufficient decrease the interval is that of the loss less the line of sufficient decrease.
        tilt = self._tilt if self._auxiliary and not decreased and trial.loss <= self.low.loss else 0.0
        low, at = _tilted(self.low, tilt), _tilted(trial, tilt)
        high = None if self.high is None else _tilted(self.high, tilt)
        higher = at.loss > low.loss + self._noise
        step = _trial_step(low, high, at, higher, self._outward(trial))
        if higher:
            self.high = trial
        else:
            if at.slope * (trial.step - self.low.step) >= 0.0:
                self.high = self.low
            self.low = trial
        return self._inside(self._bisected(step))

    def resolved(self, step: float) -> bool:
        """Whether ``step`` is no new one: the interval is as short as steps can be told apart, or as long as they can get."""
        return step == self.low.step or (self.high is not None and step == self.high.step) or not math.isfinite(step)

    def _outward(self, trial: Trial) -> tuple[float, float]:
        """Where the next step may go while nothing is bracketed."""
        move = trial.step - self.low.step
        return trial.step + _LEAST_GROWTH * move, trial.step + _MOST_GROWTH * move

    def _bisected(self, step: float) -> float:
        """``step``, or the middle if the interval has not shrunk enough over two trials."""
        if self.high is None:
            return step
        width = abs(self.high.step - self.low.step)
        two_ago, self._widths = self._widths[0], (self._widths[1], width)
        return self.low.step + 0.5 * (self.high.step - self.low.step) if width >= _SHRINK * two_ago else step

    def _inside(self, step: float) -> float:
        """``step`` inside the interval, else the interval's middle; half way to a step that was not finite at most."""
        if self.high is None:
            return min(step, 0.5 * (self.low.step + self._wall))
        ends = sorted((self.low.step, self.high.step))
        return step if ends[0] < step < ends[1] else 0.5 * (ends[0] + ends[1])


def _tilted(trial: Trial, tilt: float) -> Trial:
    """``trial`` of the loss less the line of slope ``tilt``."""
    return Trial(trial.step, trial.loss - tilt * trial.step, trial.slope - tilt)


def _trial_step(low: Trial, high: Trial | None, at: Trial, higher: bool, outward: tuple[float, float]) -> float:
    """The four cases of section 4."""
    by_cubic = cubic(low, at)
    if higher:  # case 1: the minimum lies between, nearer to the lower end
        by_parabola = quadratic(low, at)
        step = by_cubic if abs(by_cubic - low.step) < abs(by_parabola - low.step) else 0.5 * (by_cubic + by_parabola)
        return step if math.isfinite(step) else 0.5 * (low.step + at.step)
    by_secant = secant(low, at)
    if at.slope * low.slope < 0.0:  # case 2: it lies between, as the slopes say
        step = by_cubic if abs(by_cubic - at.step) > abs(by_secant - at.step) else by_secant
        return step if math.isfinite(step) else 0.5 * (low.step + at.step)
    if abs(at.slope) <= abs(low.slope):  # case 3: lower and flatter, it lies further on
        return _further(by_cubic, by_secant, low, high, at, outward)
    if high is None:  # case 4: lower and steeper
        return outward[1]
    step = cubic(high, at)
    return step if math.isfinite(step) else 0.5 * (high.step + at.step)


def _further(
    by_cubic: float, by_secant: float, low: Trial, high: Trial | None, at: Trial, outward: tuple[float, float]
) -> float:
    """Case 3: beyond ``at``, cautiously if there is an end to the interval. A cubic without a minimum there falls for ever."""
    side = math.copysign(1.0, at.step - low.step)
    ahead = [s if (s - at.step) * side > 0.0 else side * math.inf for s in (by_cubic, by_secant)]
    if high is None:
        least, most = outward
        return min(max(*ahead, least), most)
    limit = at.step + _SHRINK * (high.step - at.step)
    return min(*ahead, limit) if side > 0.0 else max(*ahead, limit)
