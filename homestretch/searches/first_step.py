"""The step to try first: the line's guess, corrected by one probe of the line."""

from __future__ import annotations

import math
from collections.abc import Callable

from homestretch.searches.interpolation import minimum, quadratic
from homestretch.searches.trials import Trial, Trials

_PROBE = 0.1  # where a loss is probed, in guesses (psi_1 of Hager and Zhang)
_GRADED_PROBE = 0.5  # where loss and slope are
_EXACT = 0.2  # of the slope at the start: a probe no steeper than this is near enough to the minimum to be taken
_LONGER = 2.0  # guesses to go where the loss bends downward (their psi_2)
_MOST = 100.0  # longest step, in guesses
_SHORTER = 0.1  # shortest step, in probes, and the next one after a probe that was not finite
_CLEAR = 10.0  # a difference of losses is trusted from this many times the noise on


def first_step(trials: Trials, accept_if_done: Callable[[Trial], None]) -> float:
    """The first step of a search for the Wolfe conditions.

    Where the line's own step is more than a guess it is taken. Else one probe is made and the minimum of a parabola or cubic
    through it and the start is the step: by a forward pass where that is cheaper (rules I1 and I2 of Hager and Zhang, 2006),
    with a gradient otherwise, and then the probe may itself be good enough to end the search.

    Args:
        trials: The search's trials.
        accept_if_done: Ends the search if a trial meets its conditions.
    """
    line = trials.line
    if line.scaled:
        return line.first_step
    step = _by_loss(trials) if line.cheap_loss else _by_slope(trials, accept_if_done)
    return min(step, _MOST * line.first_step)


def _by_loss(trials: Trials) -> float:
    """The minimum of the parabola through the start and a probe near it.

    Over a guess of the right length the loss bends by about half of what the slope promises, over a fraction t of it by t^2 of
    that. So the probe goes as far out as lets the bend rise out of the noise.
    """
    line = trials.line
    guess = line.first_step
    drowned = 2.0 * _CLEAR * line.noise / (-line.start_slope * guess)
    probe = trials.forward(guess * min(max(_PROBE, math.sqrt(drowned)), 1.0))
    if not probe.finite:
        return _SHORTER * probe.step
    step = quadratic(trials.start, probe)
    bend = probe.loss - line.start_loss - probe.step * line.start_slope
    if math.isfinite(step) and bend > line.noise:
        return max(step, _SHORTER * probe.step)
    return _LONGER * guess if probe.loss <= line.start_loss else guess


def _by_slope(trials: Trials, accept_if_done: Callable[[Trial], None]) -> float:
    """The minimum of the cubic through the start and a probe, by slopes alone where the losses differ by rounding."""
    line = trials.line
    probe = trials.graded(_GRADED_PROBE * line.first_step)
    if not probe.finite:
        return _SHORTER * probe.step
    if abs(probe.slope) <= _EXACT * -line.start_slope:
        accept_if_done(probe)
    step = minimum(trials.start, probe, line.noise)
    if probe.slope > line.start_slope and step > 0.0:
        return max(step, _SHORTER * probe.step)
    return _LONGER * line.first_step if probe.loss <= line.start_loss else line.first_step
