from __future__ import annotations

import pytest
import torch

from benchmarks.functions.traps import TRAPS
from homestretch.descent.stop import StopReason


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_start_is_finite_and_the_closure_fills_fresh_gradients(trap):
    (x,), closure = trap.build()
    first = closure()
    gradient = x.grad.clone()
    assert first.isfinite()
    assert gradient.isfinite().all()
    assert closure() == first
    assert torch.equal(x.grad, gradient)
    assert first >= trap.at_most or trap.outcomes == {StopReason.GRADIENT_ZERO}
    (again,), _ = trap.build()
    assert again is not x


def _trap(name):
    return next(trap for trap in TRAPS if trap.name == name)


@pytest.mark.parametrize(
    ("name", "x", "low"),
    [
        ("log-border", [1.0], 1.0),
        ("overflow", [0.0, 0.0], 2.0),
        ("flat-start", [-1.0, -2.0, -3.0], 1.0),
        ("kink", [0.0, 0.0], 0.0),
        ("noise", [0.0] * 5, 0.0),
        ("float32-rosenbrock", [1.0, 1.0], 0.0),
    ],
)
def test_the_bound_asks_for_what_can_be_had(name, x, low):
    trap = _trap(name)
    reached = trap.loss(torch.tensor(x, dtype=trap.start.dtype)).item()
    assert reached == pytest.approx(low, abs=2e-3)
    assert reached <= trap.at_most


def test_each_trap_has_its_danger():
    nan = _trap("log-border").loss(torch.tensor([-1.0], dtype=torch.float64))
    assert nan.isnan()
    assert _trap("overflow").loss(torch.tensor([800.0, 0.0], dtype=torch.float64)).isinf()
    (x,), closure = _trap("flat-start").build()
    closure()
    assert not x.grad.any()
    noise = _trap("noise")
    near = torch.full((5,), 1e-5, dtype=torch.float64)
    changes = {noise.loss(near + k * 1e-9).item() > noise.loss(near).item() for k in range(1, 9)}
    assert changes == {True, False}
    assert _trap("float32-rosenbrock").start.dtype == torch.float32
