"""Smoothing of a short series of numbers, for rules that must not act on one noisy epoch."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

KINDS = ("median", "ema", "none")


def smooth(recent: Sequence[float], kind: str, window: int) -> float:
    r"""The smoothed last value of a series.

    ``"median"``: median of the last ``window`` values; one outlier among three leaves no trace, a jump is followed after
    half the window. ``"ema"``: exponential moving average with weight :math:`2 / (w + 1)` for a value, started at the
    first of the values given and cut off after ``3 w`` of them. ``"none"``: the last value.

    Args:
        recent: The last values, newest last, at least one; :func:`span` says how many to keep.
        kind: One of ``KINDS``.
        window: Width w in epochs.
    """
    if kind == "none":
        return recent[-1]
    if kind == "median":
        return median(recent[-window:])
    weight = 2.0 / (window + 1.0)
    average = recent[0]
    for value in recent[1:]:
        average += weight * (value - average)
    return average


def span(kind: str, window: int) -> int:
    """How many of the last values :func:`smooth` needs."""
    return {"none": 1, "median": window, "ema": 3 * window}[kind]
