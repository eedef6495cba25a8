"""The time of one iteration beside that of its evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from torch import Tensor

from benchmarks.overhead.cases import Case, Function
from homestretch import LBFGS, ConjugateGradient, Descent, Objective, SelfScaledBroyden

METHODS: dict[str, Callable[[Any], Descent]] = {
    "ConjugateGradient": ConjugateGradient,
    "LBFGS": LBFGS,
    "SelfScaledBroyden": SelfScaledBroyden,
}
DENSE = ("SelfScaledBroyden",)
WARM_UP = 60
"""Iterations before the clock starts: more than L-BFGS keeps pairs."""
_WARM_SAMPLES = 64


class Timed:
    """A function that adds up the time of its evaluations.

    Args:
        function: The function.

    Attributes:
        seconds: Time of all evaluations so far.
        evaluations: How many there were.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self.meter = function.meter
        self.seconds = 0.0
        self.evaluations = 0

    @property
    def version(self) -> int:
        return self._function.version

    def __call__(self) -> Tensor:
        return self._timed(self._function)

    def loss(self) -> float:
        return self._timed(self._function.loss)

    def _timed(self, evaluate: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = evaluate()
        self.seconds += time.process_time() - started
        self.evaluations += 1
        return result


def iteration_overhead(case: Case, method: str, seed: int) -> dict[str, float]:
    """Time `case.iterations` iterations after a warm-up that fills what the method remembers.

    The warm-up runs on a few samples, where the function has samples; the method then goes on with what it has learned.

    Returns:
        `value`, the median over the iterations of the time beside the evaluations over that of the evaluations;
        `overhead_ms`, the median of the former alone; `evaluation_ms`, the mean time of one evaluation; `evaluations` in an
        iteration, on average; `seconds` of all timed iterations.
    """
    model, function = case.build(seed, case.samples)
    optimizer = METHODS[method](model.parameters())
    warm = function.subset(_WARM_SAMPLES) if isinstance(function, Objective) else function
    optimizer.minimize(warm, WARM_UP)
    timed = Timed(function)
    optimizer.step(timed)  # evaluates the function at the new point, which no other iteration does
    before = timed.seconds, timed.evaluations
    ratios, beside, total = [], [], 0.0
    for _ in range(case.iterations):
        inside = timed.seconds
        started = time.process_time()
        optimizer.step(timed)
        whole = time.process_time() - started
        inside = timed.seconds - inside
        if inside > 0.0:
            ratios.append((whole - inside) / inside)
            beside.append(whole - inside)
        total += whole
        if optimizer.stop_reason is not None:
            break
    evaluations = timed.evaluations - before[1]
    return {
        "value": median(ratios),
        "overhead_ms": 1e3 * median(beside),
        "evaluation_ms": 1e3 * (timed.seconds - before[0]) / evaluations,
        "evaluations": evaluations / len(ratios),
        "seconds": total,
    }
