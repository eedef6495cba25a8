"""Every method with its defaults on the functions that trip line searches: finite, no higher than the start, the right reason."""

from __future__ import annotations

import pytest
import torch

from benchmarks.functions.traps import TRAPS
from homestretch import LBFGS, ConjugateGradient, NewtonCG, SelfScaledBroyden

METHODS = {"cg": ConjugateGradient, "lbfgs": LBFGS, "broyden": SelfScaledBroyden, "newton": NewtonCG}


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
@pytest.mark.parametrize("method", METHODS)
def test_ends_well(method, trap):
    parameters, closure = trap.build()
    start = float(closure())
    optimizer = METHODS[method](parameters)
    loss = optimizer.minimize(closure, trap.iterations)
    assert optimizer.stop_reason in trap.outcomes
    assert all(torch.isfinite(p).all() for p in parameters)
    assert loss <= min(start, trap.at_most)
    assert all(r.loss == r.loss and abs(r.loss) != float("inf") for r in optimizer.history)
    assert loss == pytest.approx(float(closure()), rel=1e-6, abs=1e-30)
