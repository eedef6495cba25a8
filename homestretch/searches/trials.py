"""What every line search keeps: its trials, the lowest of them, and how it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from homestretch.line import LineFunction, SearchResult, SearchStatus

_FAR = 1e10  # so many times the first step, or so many times shorter, is as far as a search need go to know what a line does


@dataclass(frozen=True)
class Trial:
    """A step that was tried.

    Attributes:
        step: The step.
        loss: Loss there, infinite where it is not finite.
        slope: Directional derivative there; NaN if it was not asked for or is not finite.
    """

    step: float
    loss: float
    slope: float = math.nan

    @property
    def finite(self) -> bool:
        """Whether the loss there is finite."""
        return math.isfinite(self.loss)


class Finished(Exception):  # noqa: N818 - it carries a result, it is no error
    """Ends a search from any depth.

    Attributes:
        result: What the search returns.
    """

    def __init__(self, result: SearchResult) -> None:
        super().__init__(result.status)
        self.result = result


class Trials:
    """The trials of one search along ``line``: counted, limited, the lowest one remembered.

    A loss of minus infinity, the limit and a spent budget end the search by raising :class:`Finished` with the lowest finite
    trial.

    Args:
        line: The line.
        limit: Most evaluations, forward ones and those with a gradient alike.

    Attributes:
        start: The trial at step 0.
        best: The lowest finite trial, the start if none is lower.
        ceiling: What a loss must not exceed to be no higher than the start, rounding allowed for.
    """

    def __init__(self, line: LineFunction, limit: int) -> None:
        self.line = line
        self.start = Trial(0.0, line.start_loss, line.start_slope)
        self.best = self.start
        self.ceiling = line.start_loss + line.noise
        self.evaluations = 0
        self._limit = limit
        self._any_finite = False
        self._first = math.inf  # the step of the first trial
        self._short_enough = False  # whether a trial was so short that yet shorter ones would tell nothing
        self._falling = 0  # trials in a row that were longer and lower than all before

    @property
    def spent(self) -> bool:
        """Whether the limit is reached."""
        return self.evaluations >= self._limit

    def forward(self, step: float) -> Trial:
        """The loss at ``step``, forward only where that is cheaper."""
        self._count(graded=False)
        return self._note(Trial(step, self.line.loss(step)))

    def graded(self, step: float) -> Trial:
        """Loss and slope at ``step``."""
        self._count(graded=True)
        return self._note(Trial(step, *self.line.loss_and_slope(step)))

    def accept(self, trial: Trial, status: SearchStatus) -> NoReturn:
        """End the search with ``trial``."""
        raise Finished(SearchResult(trial.step, trial.loss, None if math.isnan(trial.slope) else trial.slope, status))

    def give_up(self, status: SearchStatus) -> NoReturn:
        """End the search with the lowest trial; the status says that there is none if so."""
        if self.best.step > 0.0:
            self.accept(self.best, status)
        if status not in (SearchStatus.UNBOUNDED, SearchStatus.BUDGET):
            status = self._why_nothing(status)
        raise Finished(SearchResult(0.0, self.start.loss, None, status))

    def sufficient(self, trial: Trial, fraction: float) -> bool:
        """Armijo's condition: the loss falls by at least ``fraction`` of what the slope at the start promises."""
        return trial.loss - self.start.loss <= fraction * trial.step * self.start.slope

    def unnoticeable(self, trial: Trial, fraction: float) -> bool:
        """The approximate form of :meth:`sufficient`, by slopes alone, for losses that differ by rounding.

        For a parabola both say the same (Hager and Zhang, 2005, 4.1).
        """
        return trial.loss <= self.ceiling and trial.slope <= (2.0 * fraction - 1.0) * self.start.slope

    def drowned(self, trial: Trial, fraction: float) -> bool:
        """Whether the decrease that :meth:`sufficient` asks for is below the noise, and ``trial`` is no higher than that."""
        return trial.loss <= self.ceiling and -fraction * trial.step * self.start.slope <= self.line.noise

    def _why_nothing(self, status: SearchStatus) -> SearchStatus:
        """What to say of a line without a lower step: at the limit, that there is none only if shorter steps would not help."""
        if not self._any_finite:
            return SearchStatus.NON_FINITE
        return status if status is SearchStatus.LIMIT and not self._short_enough else SearchStatus.NO_DECREASE

    def _count(self, *, graded: bool) -> None:
        if self.spent:
            # All trials so far went further and lower, over orders of magnitude: nothing holds the loss along this line.
            endless = self._falling == self.evaluations and self.best.step >= _FAR * self._first
            self.give_up(SearchStatus.UNBOUNDED if endless else SearchStatus.LIMIT)
        if self.line.exhausted(graded=graded):
            self.give_up(SearchStatus.BUDGET)
        self.evaluations += 1

    def _note(self, trial: Trial) -> Trial:
        self._first = trial.step if self.evaluations == 1 else self._first
        change = min(abs(trial.loss - self.start.loss), -trial.step * self.start.slope)  # the one made, the one promised
        self._short_enough |= change <= self.line.noise or _FAR * trial.step <= self._first
        if trial.loss == -math.inf:
            self.give_up(SearchStatus.UNBOUNDED)
        if trial.finite:
            self._any_finite = True
            if trial.loss < self.best.loss:
                self._falling += trial.step > self.best.step
                self.best = trial
        return trial
