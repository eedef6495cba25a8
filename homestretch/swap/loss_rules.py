"""Rules that look at the loss alone: a plateau, a target."""

from __future__ import annotations

import math
from dataclasses import dataclass

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule


@dataclass
class PlateauMemory:
    """The best loss and the epochs since it was clearly beaten."""

    best: float = math.inf
    epoch: int = 0
    waited: int = 0


class Plateau(SwapRule):
    """Swap when the loss has stopped falling, as a learning-rate scheduler would lower the rate.

    Args:
        patience: Epochs without a clear new best that are waited for.
        threshold: Relative fall below the best loss that counts as clear.
    """

    name = "plateau"
    Memory = PlateauMemory
    memory: PlateauMemory

    def __init__(self, patience: int = 10, threshold: float = 1e-2) -> None:
        super().__init__()
        self.patience = arguments.count("patience", patience)
        self.threshold = arguments.at_least("threshold", threshold, 0.0)

    def judge(self, observation: Observation) -> Decision:
        """Count the epochs since the last clear new best."""
        memory = self.memory
        if observation.loss < memory.best - self.threshold * abs(memory.best) or memory.epoch == 0:
            memory.best, memory.epoch, memory.waited = observation.loss, observation.epoch, 0
        else:
            memory.waited += 1
        return self.decide(
            memory.waited >= self.patience,
            f"the best loss {memory.best:.3g} of epoch {memory.epoch} was not beaten by {self.threshold:.2%} "
            f"for {memory.waited} of {self.patience} epochs",
            loss=observation.loss,
            best=memory.best,
            waited=memory.waited,
        )


class AtLoss(SwapRule):
    """Swap when the loss reaches a target.

    Args:
        target: The loss at or below which to swap.
    """

    name = "at-loss"

    def __init__(self, target: float) -> None:
        super().__init__()
        self.target = arguments.finite("target", target)

    def judge(self, observation: Observation) -> Decision:
        """Compare the loss."""
        reached = observation.loss <= self.target
        relation = "has reached" if reached else "is above"
        return self.decide(
            reached, f"loss {observation.loss:.3g} {relation} the target {self.target:.3g}", loss=observation.loss
        )
