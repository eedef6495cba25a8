"""Our methods run from the shared start within their limits, points redrawn, and the start is the same every time."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmarks.sciml import Burgers, Poisson2D, WarmUp, Zoo, warm_up
from benchmarks.sciml.ours import METHODS, Limits, Method, run_own
from benchmarks.sciml.start import started
from homestretch import LBFGS


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.method)
def test_each_method_lowers_the_loss(method: Method) -> None:
    problem = Poisson2D(0, width=6, side=5, warm_up=WarmUp(steps=50))
    adam = warm_up(problem)
    before = problem.loss().item()
    run = run_own(method, problem, adam, Limits(seconds=60.0, iterations=15))
    assert run.status in ("iterations", "stopped")
    assert run.samples[-1].loss < 0.5 * before
    assert problem.loss().item() == pytest.approx(run.samples[-1].loss, rel=1e-9)
    assert run.samples[-1].gradient_equivalents >= run.iterations == run.samples[-1].iterations
    assert run.evaluations >= run.iterations


def test_auto_says_what_it_picked() -> None:
    problem = Zoo(0, "sin", 4, points=60, warm_up=WarmUp(steps=5))
    run = run_own(METHODS[0], problem, warm_up(problem), Limits(iterations=2))
    assert run.detail.startswith("LevenbergMarquardt: 60 residuals for 13 float64 parameters")


def test_points_are_redrawn_and_limits_hold() -> None:
    problem = Burgers(0, (4,), points=30, sides=10, warm_up=WarmUp(steps=5))
    problem.redraw_every = 4
    before = problem.inner
    adam = warm_up(problem)
    run = run_own(Method("LBFGS", partial(LBFGS)), problem, adam, Limits(iterations=10))
    assert (run.status, run.iterations) == ("iterations", 10)
    assert not torch.equal(before, problem.inner)
    assert run_own(Method("LBFGS", partial(LBFGS)), problem, adam, Limits(budget=5.0)).status == "budget"
    assert run_own(Method("LBFGS", partial(LBFGS)), problem, adam, Limits(seconds=0.0)).status == "time"


def test_a_start_is_made_once_and_the_same_ever_after(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, adam = started("zoo-sin-64", 3, steps=4, folder=tmp_path)
    monkeypatch.setattr("benchmarks.sciml.start.warm_up", None)
    second, other = started("zoo-sin-64", 3, steps=4, folder=tmp_path)
    assert first.loss().item() == second.loss().item()
    moments = [o.state[p]["exp_avg_sq"] for o, m in ((adam, first), (other, second)) for p in m.module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(moments[:4], moments[4:], strict=True))
