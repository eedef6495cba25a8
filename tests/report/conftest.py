from __future__ import annotations

import math

import pytest

from homestretch.history import EpochRecord, EventRecord, History, IterationRecord

LOSSES = (0.09, 0.06, 0.03, 0.02, 0.015, 0.01, 0.004, 0.001)
NORMS = (0.01, 0.03, 0.08, 0.05, 0.06, 0.02, 0.01, 0.002)
SWAP = 5


def epoch_record(number, loss, norm, phase):
    return EpochRecord(
        epoch=number,
        phase=phase,
        loss=loss,
        gradient_norm=norm,
        gradient_norm_kind="running-mean" if phase == "first" else "exact",
        gradient_equivalents=number * 1.5,
        seconds=float(number),
    )


def iteration_record(number, step):
    scalars = dict.fromkeys(("loss", "gradient_norm", "slope", "cosine", "beta", "gradient_equivalents", "seconds"), 0.5)
    texts = {"search_status": "converged", "restart": "", "stop": ""}
    return IterationRecord(iteration=number, step=step, first_step=1.0, forwards=2, gradients=1, **scalars, **texts)


def history_of(losses, norms, swap=None, steps=()):
    history = History()
    for number, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1):
        history.append(epoch_record(number, loss, norm, "first" if swap is None or number <= swap else "second"))
        if number == swap:
            history.append(EventRecord(epoch=number, name="swap", message="it fell"))
    for number, step in enumerate(steps, 1):
        history.append(iteration_record(number, step))
    return history


@pytest.fixture
def swapped():
    """A run of five epochs and three iterations."""
    return history_of(LOSSES, NORMS, SWAP, steps=(0.5, 0.0, 2.0))


@pytest.fixture(params=["empty", "no swap", "zero losses", "not finite", "zero norms", "one epoch", "swap at a loss of zero"])
def odd(request):
    """A run with something missing."""
    nothing, some = (0.0, 0.0), (0.5, 0.25)
    unreal = (math.nan, math.inf)
    return {
        "empty": history_of((), ()),
        "no swap": history_of(LOSSES, NORMS),
        "zero losses": history_of(nothing, some, 1),
        "not finite": history_of(unreal, unreal, 1, steps=unreal),
        "zero norms": history_of(some, nothing, 1, steps=nothing),
        "one epoch": history_of((0.5,), (0.5,)),
        "swap at a loss of zero": history_of((0.5, 0.0), (0.5, 0.0), 2),
    }[request.param]
