"""Samples are taken off the clock, sparsely, and the one kept is chosen without knowing the error."""

from __future__ import annotations

import math

import pytest

from benchmarks.sciml import Zoo
from benchmarks.sciml.trace import Clock, Sample, Tracer, kept


class Time:
    """Two clocks that go only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.processor = 5.0
        monkeypatch.setattr("time.perf_counter", lambda: self.wall)
        monkeypatch.setattr("time.process_time", lambda: self.processor)

    def go(self, wall: float, processor: float) -> None:
        self.wall += wall
        self.processor += processor


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def test_a_paused_clock_stands(now: Time) -> None:
    clock = Clock()
    now.go(3.0, 1.0)
    with clock.paused():
        now.go(100.0, 50.0)
    now.go(1.0, 1.0)
    assert (clock.wall, clock.processor) == pytest.approx((4.0, 2.0))
    clock.restart()
    assert (clock.wall, clock.processor) == (0.0, 0.0)


def test_samples_cost_no_time_and_are_sparse(now: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Zoo(0, "sin", 4, points=21)
    monkeypatch.setattr(problem, "error", lambda: now.go(7.0, 7.0) or 0.25)
    tracer = Tracer(problem)
    for cost in range(200):
        now.go(0.5, 0.25)
        if tracer.due(cost):
            tracer.take(cost, cost // 2, 1.0 / (1 + cost))
    last = tracer.samples[-1]
    assert last.seconds == pytest.approx(0.5 * (last.gradient_equivalents + 1))
    assert last.cpu_seconds == pytest.approx(0.5 * last.seconds)
    assert (last.error, last.held_out) == (0.25, problem.held_out_loss())
    assert 20 < len(tracer.samples) < 50


def test_the_kept_sample_is_that_of_the_lowest_held_out_loss() -> None:
    def sample(held_out: float, error: float) -> Sample:
        return Sample(1.0, 1.0, 1.0, 1, 0.1, held_out, error)

    samples = [sample(3.0, 0.1), sample(1.0, 0.2), sample(2.0, 0.05), sample(math.nan, 0.01)]
    assert kept(samples).error == 0.2
