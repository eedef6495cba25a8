"""The least that L-BFGS can cost: its stored pairs go through the processor twice an iteration."""

from __future__ import annotations

import time
from statistics import median

import torch

from benchmarks.overhead.cases import Case
from homestretch import vectors

PAIRS = 50
"""What `LBFGS` keeps if it is not told otherwise."""


def pairs_read(case: Case, seed: int) -> dict[str, float]:
    """Time an evaluation, and what no way of writing L-BFGS down can do without: two passes over all pairs, in turn.

    A pass makes inner products of one vector with all of them, or adds them all up with weights; with the two-loop recursion as
    with the compact form, the second pass needs the results of the first.

    Returns:
        `value`, the time of both passes over that of an evaluation, as the median over the turns; both in milliseconds;
        `gigabytes_per_second` that the passes read.
    """
    model, function = case.build(seed, case.samples)
    gradient = vectors.pack([p.detach() for p in model.parameters()])
    steps, differences = (torch.ones(PAIRS, len(gradient), dtype=gradient.dtype) for _ in range(2))
    turns = []
    for _ in range(case.iterations + 1):
        started = time.process_time()
        function()
        evaluated = time.process_time()
        weights = torch.mv(steps, gradient), torch.mv(differences, gradient)
        torch.mv(steps.mT, weights[0]).add_(torch.mv(differences.mT, weights[1]))
        turns.append((evaluated - started, time.process_time() - evaluated))
    evaluation, reading = (median(times) for times in zip(*turns[1:], strict=True))
    return {
        "value": median(read / evaluated for evaluated, read in turns[1:]),
        "evaluation_ms": 1e3 * evaluation,
        "reading_ms": 1e3 * reading,
        "gigabytes_per_second": 2e-9 * (steps.nbytes + differences.nbytes) / reading,
    }
