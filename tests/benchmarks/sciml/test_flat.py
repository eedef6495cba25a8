"""The flat view of a problem and the traced meter count, keep and halt as they say."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from benchmarks.peers.meter import Halt
from benchmarks.sciml import Burgers, WarmUp, Zoo
from benchmarks.sciml.flat import FlatProblem, TracedMeter


def small() -> FlatProblem:
    return FlatProblem(Zoo(0, "sin", 6, points=31))


def test_flat_loss_and_gradient_are_the_problems() -> None:
    flat = small()
    x = flat.start().requires_grad_()
    (gradient,) = torch.autograd.grad(flat.loss(x), x)
    flat.problem.loss().backward()
    wanted = torch.cat([p.grad.reshape(-1) for p in flat.problem.module.parameters()])
    torch.testing.assert_close(gradient, wanted, rtol=1e-14, atol=1e-14)
    assert flat.loss(x).item() == flat.problem.loss().item()
    assert gradient.shape == (flat.size,)
    other = torch.zeros(flat.size, dtype=torch.float64)
    flat.put(other)
    assert flat.problem.error() == pytest.approx(1.0)
    assert torch.equal(flat.start(), other)


def test_meter_keeps_the_best_point_and_samples_it_sparsely() -> None:
    flat = small()
    meter = TracedMeter(flat, budget=100.0)
    x = meter.start()
    losses = []

    def spend() -> None:
        for k in range(1000):
            y = (x * (1 + 0.5 * math.sin(k))).requires_grad_()
            value = meter.loss(y)
            value.backward()
            losses.append(value.item())

    with pytest.raises(Halt, match="budget"):
        spend()
    assert meter.cost == pytest.approx(100.0)
    assert meter.best == min(losses)
    with torch.no_grad():
        assert flat.loss(meter.best_x).item() == pytest.approx(meter.best, rel=1e-14)
    sampled = [sample.gradient_equivalents for sample in meter.samples]
    assert sampled == sorted(sampled)
    assert 5 < len(sampled) < 55
    assert all(later.loss <= earlier.loss for earlier, later in pairwise(meter.samples))


def test_updates_are_priced_by_their_flops() -> None:
    flat = small()
    meter = TracedMeter(flat, update_flops=3.0 * flat.problem.gradient_flops())
    meter.tick(count=2)
    assert meter.cost == pytest.approx(6.0)


def test_iterations_and_legs_halt_the_run() -> None:
    meter = TracedMeter(small(), iterations=3)
    meter.tick()
    assert meter.progress == pytest.approx(1 / 3)
    with pytest.raises(Halt, match="iterations"):
        meter.tick(count=2)

    burgers = Burgers(0, (4,), points=30, sides=10, warm_up=WarmUp(steps=0))
    legs = TracedMeter(FlatProblem(burgers), iterations=10**6)
    assert legs.iterations_left == 500
    legs.loss(legs.start())
    before, best = burgers.inner, legs.best
    with pytest.raises(Halt, match="redraw"):
        legs.tick(count=500)
    legs.redraw()
    assert not torch.equal(before, burgers.inner)
    assert legs.best == math.inf > best
    assert legs.iterations_left == 500
