"""Rules made of rules: any of them, all of them, one after another, with a latest moment."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homestretch.decision import Decision
from homestretch.memory import check_owner
from homestretch.swap.base import Observation, ProbeResult, SwapRule
from homestretch.swap.fixed import AtShare


@dataclass
class PartsMemory:
    """Which parts wanted to swap and which wait for a probe, in the epoch that is being decided."""

    wants: list[bool] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)


def check_rule(name: str, given: Any) -> SwapRule:
    """``given``, if it is a swap rule.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(given, SwapRule):
        return given
    if isinstance(given, (list, tuple)):
        raise TypeError(f"{name} must be a swap rule, got a {type(given).__name__} of them: unpack it, as in AnyOf(*rules)")
    raise TypeError(f"{name} must be a swap rule, such as AtEpoch(30), got {given!r}; wrap a function in Custom")


def _all_in(rule: SwapRule) -> list[SwapRule]:
    """The rule and those that it is made of, at any depth."""
    return [rule, *(r for part in rule.parts for r in _all_in(part))] if isinstance(rule, Combination) else [rule]


def _name(kind: str, rules: Sequence[SwapRule]) -> str:
    """A name from those of the parts, which may be no rules yet."""
    return f"{kind}({', '.join(check_rule(f'a part of {kind}', rule).name for rule in rules)})"


class Combination(SwapRule):
    """Base of rules over other rules, its parts: their states are kept inside its own.

    Args:
        parts: The rules, at least one. A rule object holds a memory and must not be used twice.
        name: Name of the combination.
    """

    Memory = PartsMemory

    def __init__(self, parts: Sequence[SwapRule], name: str) -> None:
        if not parts:
            raise ValueError(f"{name} needs at least one rule")
        held = [id(rule) for part in parts for rule in _all_in(check_rule(f"a part of {name}", part))]
        if len(set(held)) < len(held):
            raise ValueError(f"{name} was given one rule object twice, be it inside other rules: make two")
        super().__init__()
        self.parts = list(parts)
        self.name = name
        self.needs_budget = any(part.needs_budget for part in parts)

    def reset(self) -> None:
        """Forget everything, in all parts."""
        super().reset()
        for part in self.parts:
            part.reset()

    def begin_again(self) -> None:
        """Begin anew in all parts."""
        SwapRule.reset(self)
        for part in self.parts:
            part.begin_again()

    def state_dict(self) -> dict[str, Any]:
        """The state of the combination and of its parts."""
        return {**super().state_dict(), "parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        check_owner(state, self.name)
        states = state.get("parts", ())
        if len(states) != len(self.parts):
            raise ValueError(f"the state of {self.name} holds {len(states)} rules, not {len(self.parts)}")
        super().load_state_dict(state)
        for part, part_state in zip(self.parts, states, strict=True):
            part.load_state_dict(part_state)

    def watch(self, observation: Observation) -> None:
        """Let every part take in the epoch."""
        for part in self.parts:
            part.watch(observation)


class _Vote(Combination):
    """All parts see every epoch; a subclass says how their answers count."""

    memory: PartsMemory

    def judge(self, observation: Observation) -> Decision:
        """Ask all parts."""
        decisions = [part.observe(observation) for part in self.parts]
        self.memory.wants = [d.swap for d in decisions]
        self.memory.asked = [d.probe for d in decisions]
        return self._count(decisions)

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Hand the probe's result to the parts that asked for it."""
        memory = self.memory
        decisions = [
            part.weigh(observation, probe) if asked else part.decide(want, "decided before the probe")
            for part, want, asked in zip(self.parts, memory.wants, memory.asked, strict=True)
        ]
        memory.wants = [d.swap for d in decisions]
        memory.asked = [d.probe for d in decisions]
        return self._count(decisions)

    @abstractmethod
    def _count(self, decisions: Sequence[Decision]) -> Decision:
        """One decision from those of the parts."""

    def _join(self, swap: bool, decisions: Sequence[Decision], because: Sequence[Decision]) -> Decision:
        """One decision for all, for the reasons of those that settled it."""
        values = {f"{d.rule}.{key}": value for d in decisions for key, value in d.values.items()}
        wishes = [d for d in decisions if d.probe] if not swap else []
        if wishes:
            values["probe_cost"] = max(d.values.get("probe_cost", 0.0) for d in wishes)
        reason = "; ".join(f"{d.rule}: {d.reason}" for d in because)
        return Decision(swap=swap, reason=reason, rule=self.name, values=values, probe=bool(wishes))


class AnyOf(_Vote):
    """Swap as soon as one of the rules says so.

    Args:
        rules: The rules.
        name: Name of the combination.
    """

    def __init__(self, *rules: SwapRule, name: str | None = None) -> None:
        super().__init__(rules, name or _name("any-of", rules))

    def _count(self, decisions: Sequence[Decision]) -> Decision:
        wanting = [d for d in decisions if d.swap]
        return self._join(bool(wanting), decisions, wanting or decisions)


class AllOf(_Vote):
    """Swap in an epoch in which all the rules say so.

    Args:
        rules: The rules.
        name: Name of the combination.
    """

    def __init__(self, *rules: SwapRule, name: str | None = None) -> None:
        super().__init__(rules, name or _name("all-of", rules))

    def _count(self, decisions: Sequence[Decision]) -> Decision:
        refusing = [d for d in decisions if not d.swap]
        return self._join(not refusing, decisions, refusing or decisions)


class Fallback(AnyOf):
    """A rule with a latest moment.

    Args:
        rule: The rule.
        share: Share of the budget at which to swap if the rule did not.
    """

    def __init__(self, rule: SwapRule, share: float = 0.5) -> None:
        super().__init__(rule, AtShare(share), name=_name("fallback", (rule,)))


@dataclass
class AfterMemory:
    """When and why the window was opened; epoch 0 while it is closed."""

    opened: int = 0
    because: str = ""


class After(Combination):
    """One rule opens the window, another decides inside it.

    Both see every epoch from the start, so that the second has its trends ready, but it can neither swap nor ask for a probe
    before the window is open. The window stays open. If the answer to a probe of the first opens it, the second decides from
    the next epoch on.

    Args:
        opener: The rule that opens.
        then: The rule that decides.
        name: Name of the combination.
    """

    Memory = AfterMemory
    memory: AfterMemory

    def __init__(self, opener: SwapRule, then: SwapRule, name: str | None = None) -> None:
        super().__init__((opener, then), name or _name("after", (opener, then)))

    def judge(self, observation: Observation) -> Decision:
        """Ask the opener until it opens, the other from then on."""
        opener, then = self.parts
        if not self.memory.opened:
            opening = opener.observe(observation)
            if not opening.swap:
                then.watch(observation)
                return replace(opening, rule=self.name)
            self.memory.opened, self.memory.because = observation.epoch, opening.reason
        return self._inside(then.observe(observation))

    def watch(self, observation: Observation) -> None:
        """Open the window if the opener does; the other rule takes in the epoch."""
        opener, then = self.parts
        if not self.memory.opened:
            opening = opener.observe(observation)
            if opening.swap:
                self.memory.opened, self.memory.because = observation.epoch, opening.reason
        then.watch(observation)

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Hand the probe's result to the rule that asked for it: the opener while the window is closed."""
        opener, then = self.parts
        if self.memory.opened:
            return self._inside(then.weigh(observation, probe))
        opening = opener.weigh(observation, probe)
        if not opening.swap:
            return replace(opening, rule=self.name)
        self.memory.opened, self.memory.because = observation.epoch, opening.reason
        return self._inside(self.decide(False, f"{then.name} decides from the next epoch on", **opening.values))

    def _inside(self, decision: Decision) -> Decision:
        opened = f"window open since epoch {self.memory.opened} ({self.memory.because})"
        return replace(decision, rule=self.name, reason=f"{decision.reason}; {opened}")
