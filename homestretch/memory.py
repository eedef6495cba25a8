"""What a rule remembers between observations, kept as plain data so that a checkpoint holds it and a resume goes on exactly."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass
class NoMemory:
    """The memory of a rule that needs none."""


class Remembering:
    """Base of rules with a memory: a dataclass of numbers, strings and lists, every field with a default.

    Settings belong to the constructor of a rule and are no part of its state.

    Attributes:
        name: Short name, for the record, for results and as the owner's mark in a state.
        Memory: The dataclass.
        memory: What the rule remembers now.
    """

    name: str
    Memory: ClassVar[type] = NoMemory
    memory: Any

    def __init__(self) -> None:
        self.memory = self.Memory()

    def reset(self) -> None:
        """Forget everything: the next observation is the first."""
        self.memory = self.Memory()

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers, as plain numbers, strings and lists."""
        return {"rule": self.name, **asdict(self.memory)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            ValueError: If the state belongs to another rule or lacks an entry.
        """
        check_owner(state, self.name)
        names = [f.name for f in fields(self.Memory)]
        if missing := [name for name in names if name not in state]:
            raise ValueError(
                f"the state of {self.name} lacks {', '.join(missing)}: it is damaged, or of another version of homestretch; "
                "go on with the version that wrote it, or begin anew"
            )
        self.memory = self.Memory(**{name: deepcopy(state[name]) for name in names})


def check_owner(state: Mapping[str, Any], name: str) -> None:
    """Refuse a state that another rule wrote."""
    owner = state.get("rule")
    if owner != name:
        raise ValueError(f"this state belongs to the rule {owner!r}, not to {name!r}: build the rule that wrote it")
