"""The paper's rule to the letter (Hrycej et al., 2025, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule


@dataclass
class LiteralMemory:
    """The running maximum of the gradient norm and its epoch."""

    maximum: float = 0.0
    epoch: int = 0


class LiteralPeak(SwapRule):
    r"""Swap in the first epoch with :math:`g_t \le f \max_{s \le t} g_s`, f = 0.9 in the source.

    No smoothing, no patience, no regard for the start: with a norm that is largest at initialisation, or a noisy one, it
    swaps in the first epochs. It is here to reproduce the source; :class:`~homestretch.swap.peak.GradientNormPeak`
    is the guarded form.

    Args:
        factor: Share f of the maximum at or below which the norm must fall.
    """

    name = "literal-peak"
    Memory = LiteralMemory
    memory: LiteralMemory

    def __init__(self, factor: float = 0.9) -> None:
        super().__init__()
        self.factor = arguments.fraction("factor", factor)

    def judge(self, observation: Observation) -> Decision:
        """One turn of the loop of Algorithm 1."""
        norm, memory = observation.gradient_norm, self.memory
        if norm > memory.maximum:
            memory.maximum, memory.epoch = norm, observation.epoch
        stay = norm > memory.maximum * self.factor
        relation = "is above" if stay else "is not above"
        return self.decide(
            not stay,
            f"gradient norm {norm:.3g} {relation} {self.factor:g} x its maximum {memory.maximum:.3g} of epoch {memory.epoch}",
            gradient_norm=norm,
            maximum=memory.maximum,
            threshold=memory.maximum * self.factor,
        )
