from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from homestretch.swap import Decision, Observation, SwapRule

Series = list[Observation]


def make_series(losses: Sequence[float], norms: Sequence[float], budget: float | None = 200.0, **fields) -> Series:
    """One observation an epoch, each epoch one gradient-equivalent; lists among ``fields`` give one value an epoch."""

    def at(i: int) -> dict:
        return {key: value[i] if isinstance(value, list) else value for key, value in fields.items()}

    pairs = enumerate(zip(losses, norms, strict=True))
    return [
        Observation(epoch=i + 1, loss=float(f), gradient_norm=float(g), cost=float(i + 1), budget=budget, **at(i))
        for i, (f, g) in pairs
    ]


def swap_epoch(rule: SwapRule, series: Series) -> int | None:
    """Epoch of the first decision to swap, as a live run would see it."""
    return next((o.epoch for o in series if rule.observe(o).swap), None)


def resumed(rule: SwapRule, fresh: SwapRule, series: Series, cut: int) -> tuple[list[Decision], list[Decision]]:
    """Decisions of a run left alone and of one that was stopped after ``cut`` epochs, saved as JSON, and resumed."""
    alone = [rule.observe(o) for o in series]
    rule.reset()
    stopped = [rule.observe(o) for o in series[:cut]]
    fresh.load_state_dict(json.loads(json.dumps(rule.state_dict())))
    return alone, stopped + [fresh.observe(o) for o in series[cut:]]


def interpolated(knots: Sequence[tuple[float, float]], epochs: int) -> np.ndarray:
    """Values for epochs 1, 2, ...: straight lines between knots in the logarithm."""
    x, y = zip(*knots, strict=True)
    return np.exp(np.interp(np.arange(1, epochs + 1), x, np.log(y)))


def measured(name: str) -> Series:
    """What we measured (exact norm after each Adam epoch), through its known points; noise where it was seen."""
    if name == "mnist-softmax":  # norm .011 at loss .090, peak .05-.08 in epochs 6-10 at loss .034-.016, then falling
        losses = interpolated([(1, 0.090), (6, 0.034), (10, 0.016), (40, 0.003), (200, 1.1e-4)], 200)
        norms = interpolated([(1, 0.011), (6, 0.06), (8, 0.075), (10, 0.065), (20, 0.03), (200, 0.002)], 200)
        return make_series(losses, norms)
    if name == "cifar-softmax":  # norm .02 at .09, .2 at .06-.03, peak in epochs 31-51; a dip in epoch 4 at loss .086
        losses = interpolated([(1, 0.090), (4, 0.086), (20, 0.06), (51, 0.03), (200, 3.2e-3)], 200)
        norms = interpolated([(1, 0.02), (3, 0.03), (20, 0.12), (40, 0.2), (51, 0.19), (80, 0.1), (200, 0.03)], 200)
        norms[3] = 0.024
        return make_series(losses, norms)
    if name == "linear":  # largest at the start (4.5 at initialisation), lowest in epoch 8, slow rise to epoch 26
        losses = interpolated([(1, 0.16), (2, 0.10), (8, 0.085), (26, 0.05), (60, 0.02)], 60)
        start = [0.96, 0.54, 0.24, 0.13, 0.11, 0.09, 0.07, 0.06]
        tail = interpolated([(1, 0.06), (19, 0.22), (25, 0.23), (53, 0.05)], 53)[1:]
        return make_series(losses, [*start, *tail])
    raise KeyError(name)


class Tools:
    """Functions shared by the tests of rules."""

    series: Callable[..., Series] = staticmethod(make_series)
    swap_epoch = staticmethod(swap_epoch)
    resumed = staticmethod(resumed)
    measured = staticmethod(measured)
    interpolated = staticmethod(interpolated)


@pytest.fixture
def tools() -> type[Tools]:
    return Tools
