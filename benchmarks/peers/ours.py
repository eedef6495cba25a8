"""Our own methods, counted like everyone else's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

import homestretch
from benchmarks.peers.meter import Meter, TorchClosure
from benchmarks.results_io import fingerprint
from homestretch import Descent

ENGINE = ("descent", "directions", "searches", "line.py", "preconditioners.py", "vectors.py")


@cache
def engine_version() -> str:
    """Return what changes whenever the code of the convex phase does."""
    package = Path(homestretch.__file__).parent
    return fingerprint(*(package / name for name in ENGINE))


def run_ours(meter: Meter, make: Callable[[list[torch.nn.Parameter]], Descent]) -> str:
    """Step one of our methods until the meter halts it or it stops, and return its stop reason."""
    closure = TorchClosure(meter)
    optimizer = make([closure.parameter])
    while optimizer.stop_reason is None:
        optimizer.step(closure)
        meter.tick()
    return optimizer.stop_reason.name
