"""Which convex-phase method for this problem, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from homestretch.descent import LBFGS, Descent
from homestretch.objective.base import Function

Factory = Callable[[list[Tensor]], Descent]


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it.

    Attributes:
        make: Builds the method over a list of parameters.
        name: The method's name.
        reason: One sentence.
    """

    make: Factory
    name: str
    reason: str


def choose(parameters: Sequence[Tensor], function: Function | None) -> Choice:
    """Pick a method for ``function`` of ``parameters``."""
    return Choice(LBFGS, "LBFGS", "L-BFGS needs gradients alone and starts from the first optimizer's second moments")
