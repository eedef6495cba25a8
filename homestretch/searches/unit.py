"""The proposed step or nothing: what damped methods want, as they answer a rejection with a shorter step of their own."""

from __future__ import annotations

from dataclasses import dataclass

from homestretch.line import LineFunction, SearchResult, SearchStatus


@dataclass(frozen=True)
class Unit:
    """Take the first step if it lowers the loss enough; one forward pass.

    Attributes:
        decrease: Share of the decrease that the slope promises over the step which the loss must make. The slope promises up to
            twice what a damped method's model does, so this is half a gain ratio.
    """

    decrease: float = 1e-4

    def __post_init__(self) -> None:
        if not 0.0 <= self.decrease < 0.5:
            raise ValueError(f"decrease must lie between 0 and 1/2, got {self.decrease}")

    def __call__(self, line: LineFunction) -> SearchResult:
        """Try the first step."""
        if line.exhausted(graded=False):
            return SearchResult(0.0, line.start_loss, None, SearchStatus.BUDGET)
        step = line.first_step
        loss = line.loss(step)
        if loss < line.start_loss + self.decrease * step * line.start_slope:
            return SearchResult(step, loss, None, SearchStatus.CONVERGED)
        if loss < line.start_loss:
            return SearchResult(0.0, line.start_loss, None, SearchStatus.REJECTED)
        status = SearchStatus.NO_DECREASE if loss < float("inf") else SearchStatus.NON_FINITE
        return SearchResult(0.0, line.start_loss, None, status)
