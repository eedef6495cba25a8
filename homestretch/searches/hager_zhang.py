r"""The line search of Hager and Zhang (2005, 2006), with the approximate Wolfe conditions.

A step is accepted when it meets the Wolfe conditions

.. math:: \phi(a) - \phi(0) \le \delta a \phi'(0), \qquad \phi'(a) \ge \sigma \phi'(0)

or, where the loss changes so little that differences may drown in rounding, the approximate ones, which need derivatives only:

.. math:: (2\delta - 1) \phi'(0) \ge \phi'(a) \ge \sigma \phi'(0), \qquad \phi(a) \le \phi(0) + \epsilon.

Sources: W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent and an efficient line search",
SIAM J. Optim. 16 (2005), stages B0-B3, U0-U3 and S1-S4; "Algorithm 851: CG_DESCENT", ACM TOMS 32 (2006), stages L0-L3.
Beyond them: a trial that is not finite bounds all later steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from homestretch import arguments
from homestretch.line import LineFunction, SearchResult, SearchStatus
from homestretch.searches.first_step import first_step
from homestretch.searches.interpolation import minimum, secant
from homestretch.searches.trials import Finished, Trial, Trials

_SMALL = 1e-3  # relative change of the loss up to which the approximate conditions count (their omega)
_RESOLUTION = 1e-8  # an interval shorter than this share of the step is not searched any further
_CONTRACT = 0.1  # of a first step whose loss is not finite


@dataclass(frozen=True)
class HagerZhang:
    """Secant steps inside a shrinking bracket, until the (approximate) Wolfe conditions hold.

    Attributes:
        delta: Sufficient decrease, in (0, 1/2).
        sigma: Curvature condition, in [delta, 1). Small values search more exactly.
        expand: Growth of the step while the loss still falls (their rho).
        theta: Where the bracket is cut when the loss is too high, 1/2 for bisection.
        gamma: The bracket must shrink by this factor in each iteration or it is bisected.
        quadratic_step: Where the first step is a guess, correct it by a probe of the line (their rules I1 and I2); by a forward
            pass where that is cheaper than a gradient.
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
        arguments.count("max_evaluations", self.max_evaluations)

    def __call__(self, line: LineFunction) -> SearchResult:
        """Find a step that meets the conditions."""
        run = _Run(self, line)
        try:
            bracket = run.bracket()
            while True:
                bracket = run.shrink(*bracket)
        except Finished as end:
            return end.result


class _Run:
    """One search. Any method may end it by raising ``Finished``."""

    def __init__(self, settings: HagerZhang, line: LineFunction) -> None:
        self.settings = settings
        self.line = line
        self.trials = Trials(line, settings.max_evaluations)

    def trial(self, step: float) -> Trial:
        """Evaluate ``step``; ends the search if it is acceptable."""
        trial = self.trials.graded(step)
        self.accept_if_done(trial)
        return trial

    def accept_if_done(self, trial: Trial) -> None:
        """End the search if ``trial`` meets the Wolfe or the approximate Wolfe conditions."""
        trials, s = self.trials, self.settings
        if not trial.slope >= s.sigma * trials.start.slope:  # nor if it is not finite
            return
        if trials.sufficient(trial, s.delta):
            trials.accept(trial, SearchStatus.CONVERGED)
        change = abs(trial.loss - trials.start.loss)
        if change <= max(_SMALL * abs(trials.start.loss), self.line.noise) and trials.unnoticeable(trial, s.delta):
            trials.accept(trial, SearchStatus.ROUNDING)

    def bracket(self) -> tuple[Trial, Trial]:
        """Stages B0-B3: an interval whose ends satisfy the opposite slope condition (their 4.4)."""
        low, wall = self.trials.start, math.inf
        s = self.settings
        step = first_step(self.trials, self.accept_if_done) if s.quadratic_step else self.line.first_step
        while True:
            trial = self.trial(step)
            if not trial.finite:
                wall = trial.step
                step = low.step + (_CONTRACT if low.step == 0.0 else 0.5) * (wall - low.step)
            elif trial.slope >= 0.0:  # B1
                return low, trial
            elif trial.loss > self.trials.ceiling:  # B2, from the last good step instead of 0
                return self.bisect(low, trial)
            else:  # B3
                low = trial
                step = min(s.expand * low.step, 0.5 * (low.step + wall))
            if not low.step < step < wall:
                self.trials.give_up(SearchStatus.RESOLVED if wall < math.inf else SearchStatus.UNBOUNDED)

    def shrink(self, low: Trial, high: Trial) -> tuple[Trial, Trial]:
        """Stages L1-L2: a double secant step, then a bisection if that did not shrink the interval enough."""
        width = high.step - low.step
        new_low, new_high = self.secant2(low, high)
        if new_high.step - new_low.step > self.settings.gamma * width:
            middle = 0.5 * (new_low.step + new_high.step)
            new_low, new_high = self.update(new_low, new_high, middle)
        # No step near this minimum decreases the loss by as much as delta asks for.
        if new_high.step - new_low.step <= _RESOLUTION * new_high.step or (new_low, new_high) == (low, high):
            self.trials.give_up(SearchStatus.RESOLVED)
        return new_low, new_high

    def secant2(self, low: Trial, high: Trial) -> tuple[Trial, Trial]:
        """Stages S1-S4; the first step is a cubic's, as in later versions of CG_DESCENT."""
        c = minimum(low, high, self.line.noise)
        if not low.step < c < high.step:
            c = secant(low, high)
        a, b = self.update(low, high, c)
        if c == b.step:
            return self.update(a, b, secant(high, b))
        if c == a.step:
            return self.update(a, b, secant(low, a))
        return a, b

    def update(self, low: Trial, high: Trial, step: float) -> tuple[Trial, Trial]:
        """Stages U0-U3."""
        if not low.step < step < high.step:  # U0, and a secant that is not finite
            return low, high
        trial = self.trial(step)
        if trial.slope >= 0.0:  # U1
            return low, trial
        if trial.loss <= self.trials.ceiling:  # U2
            return trial, high
        return self.bisect(low, trial)  # U3

    def bisect(self, low: Trial, high: Trial) -> tuple[Trial, Trial]:
        """Stage U3: cut an interval whose upper end is too high until its upper end slopes upward."""
        while True:
            step = (1.0 - self.settings.theta) * low.step + self.settings.theta * high.step
            if not low.step < step < high.step:
                self.trials.give_up(SearchStatus.RESOLVED)
            trial = self.trial(step)
            if trial.slope >= 0.0:
                return low, trial
            if trial.loss <= self.trials.ceiling:
                low = trial
            else:
                high = trial
