"""Which convex-phase method ``second="auto"`` stands for, and why. At present one method for every problem."""

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
    """The method for ``function`` of ``parameters``: L-BFGS, whatever they are."""
    return Choice(LBFGS, "LBFGS", "the method for every problem at present: it needs gradients alone")
