"""A user's own function as a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule

Judge = Callable[[Sequence[Observation]], bool | Decision]


@dataclass
class CustomMemory:
    """All observations so far, as plain dictionaries."""

    seen: list[dict[str, Any]] = field(default_factory=list)


class Custom(SwapRule):
    """Swap when a function of all observations so far says so.

    The function is pure: it gets the whole past, newest last, and needs no memory of its own, so that a resumed run goes on
    exactly. Subclass :class:`~homestretch.swap.base.SwapRule` for a rule with a memory or with probes.

    Args:
        function: Takes the observations and returns whether to swap, or a whole :class:`~homestretch.swap.base.Decision`.
        name: Name of the rule; the function's own name if it is not given.
    """

    Memory = CustomMemory
    memory: CustomMemory

    def __init__(self, function: Judge, name: str | None = None) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}")
        self.function = function
        self.name = name or getattr(function, "__name__", "custom")
        self._past: list[Observation] = []  # what the memory holds, made once
        self._of: list[dict[str, Any]] | None = None

    def judge(self, observation: Observation) -> Decision:
        """Ask the function."""
        seen = self.memory.seen
        if self._of is not seen:  # begun anew, or loaded
            self._past, self._of = [Observation(**known) for known in seen], seen
        seen.append(asdict(observation))
        self._past.append(observation)
        answer = self.function(tuple(self._past))
        if isinstance(answer, Decision):
            return answer
        if not isinstance(answer, (bool, np.bool_)):
            kind = f"{type(answer).__module__}.{type(answer).__qualname__}".removeprefix("builtins.")
            raise TypeError(f"{self.name} must return a bool or a Decision, got {kind}")
        return self.decide(bool(answer), f"{self.name} says {'swap' if answer else 'stay'} after epoch {observation.epoch}")
