r"""The line search of Hager and Zhang (2005, 2006), with the approximate Wolfe conditions.

A step is accepted when it meets the Wolfe conditions

.. math:: \phi(a) - \phi(0) \le \delta a \phi'(0), \qquad \phi'(a) \ge \sigma \phi'(0)

or, where differences of losses drown in rounding, the approximate ones, which need derivatives only:

.. math:: (2\delta - 1) \phi'(0) \ge \phi'(a) \ge \sigma \phi'(0), \qquad \phi(a) \le \phi(0) + \epsilon.

Sources: W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search",
SIAM J. Optim. 16 (2005), stages B0-B3, U0-U3 and S1-S4; "Algorithm 851: CG_DESCENT", ACM TOMS 32 (2006), stages L0-L3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from homestretch.line import LineFunction, SearchResult, SearchStatus

_PROBE = 0.1  # their psi_1
_MOST = 10.0  # longest quadratic step, in first steps


@dataclass(frozen=True)
class _Trial:
    step: float
    loss: float
    slope: float


@dataclass(frozen=True)
class HagerZhang:
    """Secant steps inside a shrinking bracket, until the (approximate) Wolfe conditions hold.

    Attributes:
        delta: Sufficient decrease, in (0, 1/2).
        sigma: Curvature condition, in [delta, 1). Small values search more exactly.
        expand: Growth of the step while the loss still falls (their rho).
        theta: Where the bracket is cut when the loss is too high, 1/2 for bisection.
        gamma: The bracket must shrink by this factor in each iteration or it is bisected.
        quadratic_step: Where the first step is a guess, probe the loss at a tenth of it and start from the minimum of the
            parabola through that loss, the start and the slope there (their rules I1 and I2).
        max_evaluations: Limit on evaluations in one search.
    """

    delta: float = 0.1
    sigma: float = 0.9
    expand: float = 5.0
    theta: float = 0.5
    gamma: float = 0.66
    quadratic_step: bool = True
    max_evaluations: int = 50

    def __post_init__(self) -> None:
        if not 0.0 < self.delta < 0.5:
            raise ValueError(f"delta must lie between 0 and 1/2, got {self.delta}")
        if not self.delta <= self.sigma < 1.0:
            raise ValueError(f"sigma must lie between delta and 1, got {self.sigma}")
        if not self.expand > 1.0:
            raise ValueError(f"expand must be greater than 1, got {self.expand}")
        if not (0.0 < self.theta < 1.0 and 0.0 < self.gamma < 1.0):
            raise ValueError(f"theta and gamma must lie between 0 and 1, got {self.theta} and {self.gamma}")
        if self.max_evaluations < 1:
            raise ValueError(f"max_evaluations must be positive, got {self.max_evaluations}")

    def __call__(self, line: LineFunction) -> SearchResult:
        """Find a step that meets the conditions."""
        run = _Run(self, line)
        try:
            bracket = run.bracket(run.first_finite(run.first_step()))
            while True:
                bracket = run.shrink(*bracket)
        except _Done as done:
            return done.result


class _Done(Exception):  # noqa: N818 - it carries a result, it is no error
    def __init__(self, result: SearchResult) -> None:
        self.result = result


class _Run:
    """One search: its settings, its line and its best trial. Any method may end it by raising ``_Done``."""

    def __init__(self, settings: HagerZhang, line: LineFunction) -> None:
        self.settings = settings
        self.line = line
        self.start = _Trial(0.0, line.start_loss, line.start_slope)
        self.best = self.start
        self.ceiling = line.start_loss + line.noise
        self.evaluations = 0
        self.finite = False

    def trial(self, step: float) -> _Trial:
        """Evaluate ``step``; ends the search if it is acceptable or the limit is reached."""
        if self.evaluations >= self.settings.max_evaluations:
            self.give_up(SearchStatus.LIMIT)
        self.evaluations += 1
        trial = _Trial(step, *self.line.loss_and_slope(step))
        if trial.loss == -math.inf:
            raise _Done(SearchResult(0.0, trial.loss, None, SearchStatus.UNBOUNDED))
        if math.isfinite(trial.loss):
            self.finite = True
            self.accept_if_done(trial)
            if trial.loss < self.best.loss:
                self.best = trial
        return trial

    def accept_if_done(self, trial: _Trial) -> None:
        """End the search if ``trial`` meets the Wolfe or the approximate Wolfe conditions."""
        s, slope0 = self.settings, self.start.slope
        if trial.slope < s.sigma * slope0:
            return
        if trial.loss - self.start.loss <= s.delta * trial.step * slope0:
            raise _Done(SearchResult(trial.step, trial.loss, trial.slope, SearchStatus.CONVERGED))
        if (2.0 * s.delta - 1.0) * slope0 >= trial.slope and trial.loss <= self.ceiling:
            raise _Done(SearchResult(trial.step, trial.loss, trial.slope, SearchStatus.ROUNDING))

    def give_up(self, status: SearchStatus) -> None:
        """End the search with the best trial so far."""
        if self.best.step > 0.0:
            raise _Done(SearchResult(self.best.step, self.best.loss, self.best.slope, status))
        raise _Done(
            SearchResult(0.0, self.start.loss, None, SearchStatus.NO_DECREASE if self.finite else SearchStatus.NON_FINITE)
        )

    def first_step(self) -> float:
        """Rules I1 and I2: from the line's first step to one that fits the loss, by one forward pass."""
        guess, line = self.line.first_step, self.line
        if line.scaled or not self.settings.quadratic_step or not line.cheap_loss:
            return guess
        probe = _PROBE * guess
        rise = line.loss(probe) - line.start_loss
        curvature = rise - probe * line.start_slope
        if math.isfinite(rise) and rise <= 0.0 and curvature > line.noise:
            return min(-0.5 * line.start_slope * probe * probe / curvature, _MOST * guess)
        return guess if math.isfinite(rise) and rise <= 0.0 else probe

    def first_finite(self, step: float) -> _Trial:
        """Contract the first step until the loss is finite."""
        trial = self.trial(step)
        while not math.isfinite(trial.loss):
            step *= 0.1
            if step == 0.0:
                self.give_up(SearchStatus.NON_FINITE)
            trial = self.trial(step)
        return trial

    def bracket(self, trial: _Trial) -> tuple[_Trial, _Trial]:
        """Stages B0-B3: an interval whose ends satisfy the opposite slope condition (their 4.4)."""
        low, wall = self.start, math.inf
        while True:
            if trial.slope >= 0.0:  # B1
                return low, trial
            if trial.loss > self.ceiling:  # B2
                return self.bisect(self.start, trial)
            low = trial  # B3, kept below the nearest step that was not finite
            step = trial.step * self.settings.expand
            while True:
                step = min(step, 0.5 * (low.step + wall))
                if not low.step < step < math.inf:
                    self.give_up(SearchStatus.LIMIT)
                trial = self.trial(step)
                if math.isfinite(trial.loss):
                    break
                wall = step

    def shrink(self, low: _Trial, high: _Trial) -> tuple[_Trial, _Trial]:
        """Stages L1-L2: a double secant step, then a bisection if that did not shrink the interval enough."""
        width = high.step - low.step
        new_low, new_high = self.secant2(low, high)
        if new_high.step - new_low.step > self.settings.gamma * width:
            middle = 0.5 * (new_low.step + new_high.step)
            new_low, new_high = self.update(new_low, new_high, middle)
        if (new_low, new_high) == (low, high):  # the interval is as short as the steps can resolve
            self.give_up(SearchStatus.LIMIT)
        return new_low, new_high

    def secant2(self, low: _Trial, high: _Trial) -> tuple[_Trial, _Trial]:
        """Stages S1-S4."""
        c = _secant(low, high)
        a, b = self.update(low, high, c)
        if c == b.step:
            return self.update(a, b, _secant(high, b))
        if c == a.step:
            return self.update(a, b, _secant(low, a))
        return a, b

    def update(self, low: _Trial, high: _Trial, step: float) -> tuple[_Trial, _Trial]:
        """Stages U0-U3."""
        if not low.step < step < high.step:  # U0, and a secant that is not finite
            return low, high
        trial = self.trial(step)
        if math.isfinite(trial.loss) and trial.slope >= 0.0:  # U1
            return low, trial
        if trial.loss <= self.ceiling:  # U2
            return trial, high
        return self.bisect(low, trial)  # U3

    def bisect(self, low: _Trial, high: _Trial) -> tuple[_Trial, _Trial]:
        """Stage U3: cut an interval whose upper end is too high until its upper end slopes upward."""
        while True:
            step = (1.0 - self.settings.theta) * low.step + self.settings.theta * high.step
            if not low.step < step < high.step:
                self.give_up(SearchStatus.LIMIT)
            trial = self.trial(step)
            if math.isfinite(trial.loss) and trial.slope >= 0.0:
                return low, trial
            if trial.loss <= self.ceiling:
                low = trial
            else:
                high = trial


def _secant(a: _Trial, b: _Trial) -> float:
    """The root of the line through two slopes; NaN where they are equal or not finite."""
    difference = b.slope - a.slope
    return (a.step * b.slope - b.step * a.slope) / difference if difference else math.nan
