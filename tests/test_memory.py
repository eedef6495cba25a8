from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from homestretch.memory import Remembering


@dataclass
class Lists:
    seen: list[list[float]] = field(default_factory=list)
    best: float | None = None


class Keeper(Remembering):
    name = "keeper"
    Memory = Lists


def test_state_shares_nothing_with_the_rule():
    keeper = Keeper()
    keeper.memory.seen.append([1.0])
    state = keeper.state_dict()
    keeper.memory.seen[0].append(2.0)
    assert state == {"rule": "keeper", "seen": [[1.0]], "best": None}
    other = Keeper()
    other.load_state_dict(state)
    other.memory.seen[0].append(3.0)
    assert state["seen"] == [[1.0]]


@pytest.mark.parametrize(
    ("state", "message"), [({"rule": "other"}, "belongs to the rule 'other'"), ({"rule": "keeper", "best": 1.0}, "lacks seen")]
)
def test_foreign_or_damaged_state(state, message):
    with pytest.raises(ValueError, match=message):
        Keeper().load_state_dict(state)


def test_reset():
    keeper = Keeper()
    keeper.memory.best = 1.0
    keeper.reset()
    assert keeper.state_dict() == Keeper().state_dict()
