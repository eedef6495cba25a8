r"""A rule on the gradient noise: full passes pay when noise, not curvature, limits the mini-batch steps.

The simple noise scale :math:`B = \mathrm{tr}\,\Sigma / |g|^2` is the batch size at which the noise of a mini-batch gradient
is as large as the gradient (S. McCandlish et al., "An Empirical Model of Large-Batch Training", 2018, eq. 2.9). With
batches much smaller than B a step is mostly noise. Once B is as large as the data set, no mini-batch tells the direction,
and the whole set does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule


@dataclass
class NoiseScaleMemory:
    """The last estimates and the count of epochs above the threshold."""

    scales: list[float] = field(default_factory=list)
    above: int = 0


class NoiseScale(SwapRule):
    """Swap when the noise scale stays above a share of the data set's size.

    Estimates from one epoch scatter widely, so that their median over ``window`` epochs is taken. An epoch without an estimate
    changes nothing.

    Args:
        share: Noise scale over the number of samples from which full passes pay.
        window: Epochs that the median is taken over.
        patience: Consecutive epochs above the threshold that are needed.
    """

    name = "noise-scale"
    Memory = NoiseScaleMemory
    memory: NoiseScaleMemory

    def __init__(self, share: float = 1.0, *, window: int = 5, patience: int = 3) -> None:
        super().__init__()
        self.share = arguments.positive("share", share)
        self.window = arguments.count("window", window)
        self.patience = arguments.count("patience", patience)

    def judge(self, observation: Observation) -> Decision:
        """Compare the median estimate with the data set."""
        if observation.samples is None:
            raise ValueError("NoiseScale needs the size of the data set in each observation: give samples")
        if observation.noise_scale is None:
            return self.stay("this epoch gave no estimate of the gradient noise")
        memory, threshold = self.memory, self.share * observation.samples
        memory.scales = [*memory.scales, observation.noise_scale][-self.window :]
        scale = median(memory.scales)
        memory.above = memory.above + 1 if len(memory.scales) == self.window and scale >= threshold else 0
        relation = "has reached" if scale >= threshold else "is below"
        return self.decide(
            memory.above >= self.patience,
            f"noise scale {scale:.4g} (median of {len(memory.scales)} epochs) {relation} "
            f"{self.share:g} x {observation.samples} samples; {memory.above} of {self.patience} epochs",
            noise_scale=scale,
            threshold=threshold,
            above=memory.above,
        )
