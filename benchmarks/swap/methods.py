"""What is compared: rules replayed over a stored first phase, rules and defaults that must run, fixed swaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from homestretch import (
    AtShare,
    BudgetAware,
    CurvePeak,
    GradientNormPeak,
    Growth,
    LiteralPeak,
    NoiseScale,
    NoResort,
    PacedPeak,
    Plateau,
)
from homestretch.swap import SwapRule

FIXED_SHARES = (0.02, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50)
"""Shares of the budget after which the fixed swaps come."""

REPLAYED: dict[str, Callable[[], SwapRule]] = {
    "literal": LiteralPeak,
    "peak": GradientNormPeak,
    "paced-peak": PacedPeak,
    "curve-peak": CurvePeak,
    "plateau": Plateau,
    "noise-scale": NoiseScale,
}
"""Rules that only look: what they would have done is read off the record. None of them goes back."""


@dataclass(frozen=True)
class Live:
    """A method that probes or goes back, so that it must run.

    Attributes:
        name: the name in the tables.
        options: makes the arguments of `TwoPhase`.
        cosine: whether the learning rate falls to zero.
        two_phases: whether there is a second phase at all.
        growth: how its data grow, on problems that are means over samples.
    """

    name: str
    options: Callable[[], dict[str, Any]]
    cosine: bool = False
    two_phases: bool = True
    growth: Growth | None = None


def live_methods() -> list[Live]:
    """The defaults as a user gets them, the rule that probes, and the other baseline."""
    return [
        Live("default", dict),
        Live("budget-aware", lambda: {"rule": BudgetAware(), "resort": NoResort()}),
        Live("growing-20", lambda: {"rule": AtShare(0.2), "resort": NoResort(), "evidence": None}, growth=Growth()),
        Live("adam-cosine", dict, cosine=True, two_phases=False),
    ]
