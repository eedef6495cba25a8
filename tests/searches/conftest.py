from __future__ import annotations

import math
from collections.abc import Callable

import pytest


class Function:
    """A line given by a Python function and its derivative; counts, and guards its values as the real line does."""

    def __init__(
        self,
        loss: Callable[[float], float],
        slope: Callable[[float], float],
        first_step: float = 1.0,
        *,
        scaled: bool = False,
        noise: float = 0.0,
        cheap_loss: bool = True,
    ) -> None:
        self.phi, self.slope = loss, slope
        self.first_step, self.scaled, self.noise, self.cheap_loss = first_step, scaled, noise, cheap_loss
        self.start_loss, self.start_slope = loss(0.0), slope(0.0)
        self.forwards: list[float] = []
        self.gradients: list[float] = []
        self.allowed = math.inf

    def exhausted(self, *, graded: bool) -> bool:
        return self.evaluations >= self.allowed

    @property
    def evaluations(self) -> int:
        return len(self.forwards) + len(self.gradients)

    def loss(self, step: float) -> float:
        if not self.cheap_loss:
            return self.loss_and_slope(step)[0]
        self.forwards.append(step)
        loss = self._guarded(self.phi, step)
        return loss if math.isfinite(loss) or loss == -math.inf else math.inf

    def loss_and_slope(self, step: float) -> tuple[float, float]:
        self.gradients.append(step)
        loss, slope = self._guarded(self.phi, step), self._guarded(self.slope, step)
        if math.isfinite(loss) and math.isfinite(slope):
            return loss, slope
        return (loss if loss == -math.inf else math.inf), math.nan

    @staticmethod
    def _guarded(f: Callable[[float], float], step: float) -> float:
        assert math.isfinite(step)
        assert step > 0.0
        try:
            return f(step)
        except (OverflowError, ValueError, ZeroDivisionError):
            return math.nan


def _more_thuente() -> dict[str, tuple[Callable[[float], float], Callable[[float], float]]]:
    """The six functions of More and Thuente (1994), section 5."""

    def third(a: float, b: float = 0.01) -> tuple[float, float]:
        inside = abs(a - 1) < b
        loss = (a - 1) ** 2 / (2 * b) + b / 2 if inside else abs(a - 1)
        wave = 39 * math.pi / 2
        return (
            loss + (1 - b) / wave * math.sin(wave * a),
            ((a - 1) / b if inside else math.copysign(1.0, a - 1)) + (1 - b) * math.cos(wave * a),
        )

    def yanai(b1: float, b2: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
        g1, g2 = (math.hypot(1, b) - b for b in (b1, b2))
        return (
            lambda a: g1 * math.hypot(1 - a, b2) + g2 * math.hypot(a, b1),
            lambda a: -g1 * (1 - a) / math.hypot(1 - a, b2) + g2 * a / math.hypot(a, b1),
        )

    return {
        "1": (lambda a: -a / (a * a + 2), lambda a: (a * a - 2) / (a * a + 2) ** 2),
        "2": (
            lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
            lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
        ),
        "3": (lambda a: third(a)[0], lambda a: third(a)[1]),
        "4": yanai(0.001, 0.001),
        "5": yanai(0.01, 0.001),
        "6": yanai(0.001, 0.01),
    }


@pytest.fixture(scope="session")
def line():
    return Function


@pytest.fixture(scope="session")
def more_thuente():
    return _more_thuente()
