"""The step to try first: the line's guess, corrected by one forward pass."""

from __future__ import annotations

import math

from homestretch.searches.interpolation import quadratic
from homestretch.searches.trials import Trials

_PROBE = 0.1  # where the parabola is fitted, in guesses (their psi_1)
_LONGER = 2.0  # guesses to go where the loss bends downward (their psi_2)
_MOST = 100.0  # longest step, in guesses
_SHORTER = 0.1  # of a step that was not finite, or far too long


def first_step(trials: Trials) -> float:
    """Rules I1 and I2 of Hager and Zhang (2006): the minimum of a parabola through the start and a probe near it.

    The line's own step is taken where it is more than a guess, or where a probe would cost as much as a gradient. The probe
    goes further out than a tenth of the guess where the bend of the loss would drown in rounding there.
    """
    line = trials.line
    guess = line.first_step
    if line.scaled or not line.cheap_loss:
        return guess
    # Over a guess of the right length the loss bends by about half of what the slope promises, over a fraction t of it by
    # t^2 of that: at this t by ten times the noise.
    drowned = 20.0 * line.noise / (-line.start_slope * guess)
    probe = trials.forward(guess * min(max(_PROBE, math.sqrt(drowned)), 1.0))
    if not probe.finite:
        return _SHORTER * probe.step
    minimum = quadratic(trials.start, probe)
    bend = probe.loss - line.start_loss - probe.step * line.start_slope
    if math.isfinite(minimum) and bend > line.noise:
        return min(max(minimum, _SHORTER * probe.step), _MOST * guess)
    return _LONGER * guess if probe.loss <= line.start_loss else guess
