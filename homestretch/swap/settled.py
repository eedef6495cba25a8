r"""Whether the gradient norm is still on its climb, when nothing is known about what lies behind it.

A norm that grows along the path shows negative curvature along the gradient: along gradient flow
:math:`\frac{d}{dt} \frac12 |g|^2 = - g^\top H g`. By the source's hypothesis (Hrycej et al., 2025, section 2) the descent is
then outside the convex region, and a first phase that speeds up there defies any forecast from its past.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule
from homestretch.swap.smoothing import smooth, span

_KIND = "median"


@dataclass
class SettledMemory:
    """Recent norms, the trough of the smoothed norm, and its maximum since."""

    norms: list[float] = field(default_factory=list)
    trough: float | None = None
    maximum: float = 0.0


class Settled(SwapRule):
    """Swap in any epoch in which the smoothed gradient norm is not climbing.

    It climbs while it stands at its maximum since the last trough (within ``factor``) and that maximum is ``rise`` times
    the trough. A norm that only ever fell is settled. Meant for use in combinations, as a veto: ``AllOf(rule, Settled())``.

    Args:
        factor: Share of the maximum from which on the norm counts as at it.
        rise: How far above its trough the maximum must be, a factor above 1.
        window: Epochs over which the median is taken.
    """

    name = "settled"
    Memory = SettledMemory
    memory: SettledMemory

    def __init__(self, factor: float = 0.9, *, rise: float = 1.5, window: int = 5) -> None:
        super().__init__()
        self.factor = arguments.fraction("factor", factor)
        self.rise = arguments.at_least("rise", rise, 1.0)
        self.window = arguments.count("window", window)

    def judge(self, observation: Observation) -> Decision:
        """Smooth, follow the trough and the maximum since."""
        memory = self.memory
        memory.norms = [*memory.norms, observation.gradient_norm][-span(_KIND, self.window) :]
        norm = smooth(memory.norms, _KIND, self.window)
        if memory.trough is None or norm < memory.trough:
            memory.trough = memory.maximum = norm
        memory.maximum = max(memory.maximum, norm)
        climbing = memory.maximum > self.rise * memory.trough and norm >= self.factor * memory.maximum
        return self.decide(
            not climbing,
            f"gradient norm {norm:.3g} {'still climbs' if climbing else 'does not climb'}: trough {memory.trough:.3g}, "
            f"maximum since then {memory.maximum:.3g}",
            gradient_norm=norm,
            maximum=memory.maximum,
            trough=memory.trough,
        )
