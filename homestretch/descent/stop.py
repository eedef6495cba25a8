"""Why a convex-phase method stopped: always said, in a sentence."""

from __future__ import annotations

from enum import Enum

from homestretch.line import SearchStatus


class StopReason(Enum):
    """Why no further iteration was made; the value is a sentence for the user."""

    GRADIENT_ZERO = "the gradient is zero: this is a stationary point"
    GRADIENT_SMALL = "the gradient norm fell below the tolerance that was asked for"
    TARGET = "the loss reached the target that was asked for"
    BUDGET = "the budget of gradient-equivalents is spent, or what is left pays for no step of the method"
    SECONDS = "the budget of seconds is spent"
    NO_DECREASE = (
        "no step lowers the loss at this precision, along the method's direction or the steepest descent: the loss is at the "
        "level of its rounding. In float32, promoting the convex phase to float64 goes on from here"
    )
    NO_PROGRESS = "the last iterations brought no new lowest loss, nor did a fresh start: what is left is rounding or noise"
    HELD_OUT = "the held-out residual no longer falls; the parameters are those where it was lowest"
    NON_FINITE = "every trial gave a loss or gradient that is not finite; the best point is kept"
    UNBOUNDED = "the loss falls without bound along the last direction; the best finite point is kept"
    LIMIT = "the line search used up its evaluations without finding a lower loss, from the steepest descent too"


# The ends for want of a lower loss, which the function may have an explanation for.
SEARCHED_IN_VAIN = (StopReason.NO_DECREASE, StopReason.NO_PROGRESS, StopReason.LIMIT)


def from_search(status: SearchStatus) -> StopReason:
    """What a search that found no step means for the loop."""
    return {
        SearchStatus.NON_FINITE: StopReason.NON_FINITE,
        SearchStatus.UNBOUNDED: StopReason.UNBOUNDED,
        SearchStatus.LIMIT: StopReason.LIMIT,
    }.get(status, StopReason.NO_DECREASE)
