"""A decision with its reason: what swap rules, the safe resort and the verdict on convexity say."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a rule says after an epoch.

    Attributes:
        swap: Whether the phase changes now.
        reason: Why, in plain English with the numbers that decided.
        rule: Name of the rule.
        values: The numbers behind the reason.
        probe: The rule wants a short run of the convex phase from a copy of this point, its result to be given in a
            repeated observation of this epoch.
    """

    swap: bool
    reason: str
    rule: str
    values: dict[str, float] = field(default_factory=dict)
    probe: bool = False
