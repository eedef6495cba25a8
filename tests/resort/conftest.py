from __future__ import annotations

from collections.abc import Callable

import pytest

from homestretch.resort import Resort


def after_first(resort: Resort, power: float = 1.0, epochs: int = 20, budget: float | None = 200.0) -> Resort:
    """A first phase of L = 1 / c^power, swapped at its end."""
    for c in range(1, epochs + 1):
        resort.observe_first(float(c), c**-power)
    resort.swapped(float(epochs), epochs, budget=budget)
    return resort


@pytest.fixture
def swapped() -> Callable[..., Resort]:
    return after_first
