"""The peak of the gradient norm drawn against the loss.

With mini-batches the loss wanders back and forth, and epochs are a poor clock: the source finds the peak more reliably
on the curve of gradient norm over loss (Hrycej et al., 2025, figures 2 and 5). Epochs of about equal loss fall into one
bin, whose median norm is a point of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule


@dataclass
class CurveMemory:
    """All epochs so far."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)


class CurvePeak(SwapRule):
    """Swap when the curve of gradient norm over falling loss has risen, peaked and fallen.

    The loss axis is logarithmic, so that losses must be positive. The curve is smoothed by a median over three neighbouring
    bins and read from high to low loss: the part before its first clear rise is the initial transient.

    Args:
        factor: Share of the maximum below which the curve must have fallen.
        rise: How far the curve must rise above the lowest point before it, a factor of at least 1.
        width: Width of a bin, as a relative difference of losses.
        bins: Number of bins of lowest loss that must all lie below the threshold.
    """

    name = "curve-peak"
    Memory = CurveMemory
    memory: CurveMemory

    def __init__(self, factor: float = 0.9, *, rise: float = 1.5, width: float = 0.1, bins: int = 3) -> None:
        super().__init__()
        self.factor = arguments.fraction("factor", factor)
        self.rise = arguments.at_least("rise", rise, 1.0)
        self.width = arguments.positive("width", width)
        self.bins = arguments.count("bins", bins)

    def judge(self, observation: Observation) -> Decision:
        """Add the epoch to the curve and look for the peak."""
        if not observation.loss > 0.0:
            raise ValueError(f"CurvePeak needs positive losses, got {observation.loss}: use GradientNormPeak")
        self.memory.losses.append(observation.loss)
        self.memory.norms.append(observation.gradient_norm)
        losses, norms = curve(self.memory.losses, self.memory.norms, self.width)
        peak = first_peak(norms, self.rise)
        if peak is None:
            return self.stay(f"the gradient norm has not risen {self.rise:g}-fold in {len(losses)} bins of falling loss")
        threshold = self.factor * norms[peak]
        below = _count_below(norms[peak + 1 :], threshold)
        return self.decide(
            below >= self.bins,
            f"the gradient norm peaked at {norms[peak]:.3g} near loss {losses[peak]:.3g}; it is below {self.factor:g} x that "
            f"in {below} of {self.bins} bins of lowest loss",
            peak=norms[peak],
            peak_loss=losses[peak],
            threshold=threshold,
            below=below,
        )


def curve(losses: Sequence[float], norms: Sequence[float], width: float) -> tuple[list[float], list[float]]:
    """The points of the curve from high to low loss: median loss and smoothed median norm of every bin that is not empty."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for loss, norm in zip(losses, norms, strict=True):
        bins.setdefault(math.floor(math.log(loss) / math.log1p(width)), []).append((loss, norm))
    ordered = [bins[i] for i in sorted(bins, reverse=True)]
    heights = [median(norm for _, norm in points) for points in ordered]
    smoothed = [median(heights[max(0, i - 1) : i + 2]) for i in range(len(heights))]
    return [median(loss for loss, _ in points) for points in ordered], smoothed


def first_peak(values: Sequence[float], rise: float) -> int | None:
    """Index of the largest value from the first that exceeds ``rise`` times the lowest before it; ``None`` without one."""
    lowest = math.inf
    for i, value in enumerate(values):
        if value > rise * lowest:
            return max(range(i, len(values)), key=values.__getitem__)
        lowest = min(lowest, value)
    return None


def _count_below(values: Sequence[float], threshold: float) -> int:
    """How many of the last values, in a row, lie below the threshold."""
    return next((i for i, value in enumerate(reversed(values)) if value >= threshold), len(values))
