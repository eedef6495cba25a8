from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import nn

from homestretch import GaussNewtonCG, LeastSquares, LevenbergMarquardt, NewtonCG, StopReason, vectors
from homestretch.directions.levenberg_marquardt import LevenbergMarquardtDirection
from homestretch.errors import NonFiniteError, UnsupportedError
from tests.directions.problems import regression


def rosenbrock(p):
    return torch.stack([10.0 * (p[1] - p[0] ** 2), 1.0 - p[0]])


def box(p):
    """Box's three-dimensional function (Box, 1966), a zero-residual problem."""
    t = 0.1 * torch.arange(1, 11, dtype=p.dtype)
    return torch.exp(-t * p[0]) - torch.exp(-t * p[1]) - p[2] * (torch.exp(-t) - torch.exp(-10.0 * t))


def bard(p):
    """Bard's function (1970): minimum 8.21487e-3."""
    y = torch.tensor([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39], dtype=p.dtype)
    u = torch.arange(1, 16, dtype=p.dtype)
    v = 16.0 - u
    return y - (p[0] + u / (v * p[1] + torch.minimum(u, v) * p[2]))


PROBLEMS = {"rosenbrock": (rosenbrock, [-1.2, 1.0]), "box": (box, [0.0, 10.0, 20.0]), "bard": (bard, [1.0, 1.0, 1.0])}


def start(function, at, dtype=torch.float64):
    x = torch.tensor(at, dtype=dtype, requires_grad=True)
    return x, LeastSquares(lambda: function(x), [x], reduction="sum")


def run(optimizer, f, limit=200):
    for _ in range(limit):
        optimizer.step(f)
        if optimizer.stop_reason is not None:
            break
    return f.loss()


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", ["auto", "qr", "dual"])
@pytest.mark.parametrize("geodesic", [False, True])
@pytest.mark.parametrize("scale", ["columns", "identity"])
def test_reaches_what_scipy_reaches(name, solver, geodesic, scale):
    function, at = PROBLEMS[name]
    x, f = start(function, at)
    loss = run(LevenbergMarquardt([x], solver=solver, geodesic=geodesic, scale=scale), f)
    peer = least_squares(lambda p: function(torch.as_tensor(p)).numpy(), np.array(at), method="lm", xtol=1e-15, ftol=1e-15)
    assert loss <= 2.0 * peer.cost * (1.0 + 1e-10) + 1e-20


def test_is_quadratic_where_the_residual_vanishes():
    x, f = start(rosenbrock, [-1.2, 1.0])
    optimizer = LevenbergMarquardt([x], geodesic=False)
    norms = []
    for _ in range(60):
        optimizer.step(f)
        norms.append(vectors.norm([x.detach() - 1.0]))
        if optimizer.stop_reason is not None:
            break
    tail = [n for n in norms if 1e-14 < n < 1e-1]
    # The order is log e_{k+1} / log e_k in the limit; the damping's own fall by ten an iteration comes on top of Newton's.
    assert max(math.log(b) / math.log(a) for a, b in itertools.pairwise(tail)) > 1.6
    assert f.loss() < 1e-25


@pytest.mark.filterwarnings("ignore::homestretch.errors.OverfitWarning")
@pytest.mark.parametrize("points", [40, 8])
def test_fits_a_network_on_either_side(points):
    model, f = regression(points=points)
    before = f.loss()
    optimizer = LevenbergMarquardt(model.parameters())
    after = run(optimizer, f, 60)
    assert after < (1e-6 if points == 40 else 1e-12) * before
    assert f.jacobian_mode == "per point"


def test_the_record_says_how_the_jacobian_is_made():
    model, f = regression()
    optimizer = LevenbergMarquardt(model.parameters())
    optimizer.step(f)
    assert optimizer.history[0].extra["jacobian: per point"] == 1.0


def test_groups_in_another_order_make_no_difference():
    losses = []
    for order in (slice(None), slice(None, None, -1)):
        model, f = regression()
        optimizer = LevenbergMarquardt([{"params": [p]} for p in list(model.parameters())[order]])
        losses.append([optimizer.step(f) for _ in range(8)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_float32_goes_down_to_its_rounding():
    model, f = regression(torch.float32)
    optimizer = LevenbergMarquardt(model.parameters())
    before = f.loss()
    assert run(optimizer, f, 60) < 1e-4 * before
    # The normal equations lose what lies below the rounding unit times their number of unknowns.
    floor = 19 * torch.finfo(torch.float32).eps
    assert min(r.extra["damping"] for r in optimizer.history) >= 0.5 * floor


def test_a_rejection_raises_the_damping_and_needs_no_new_jacobian():
    x, f = start(rosenbrock, [-1.2, 1.0])
    optimizer = LevenbergMarquardt([x], damping=1e-12, geodesic=False)
    calls = []
    chunks = f.jacobian_chunks
    f.jacobian_chunks = lambda: (calls.append(1), chunks())[1]
    optimizer.step(f)
    record = optimizer.history[0]
    assert record.forwards > 1
    assert len(calls) == 1
    assert record.extra["damping"] > 1e-12 * 1000
    assert record.extra["gain_ratio"] > 0.0


@pytest.mark.parametrize(
    ("gain", "low", "high"),
    [(1.0, 0.2, 0.2), (5.0, 0.2, 0.2), (0.5, 1.0, 1.0), (0.1, 1.4, 2.0), (0.0, 2.0, 2.0), (-3.0, 2.0, 2.0)],
)
def test_damping_follows_the_gain_ratio(gain, low, high):
    x, f = start(rosenbrock, [-1.2, 1.0])
    optimizer = LevenbergMarquardt([x])
    optimizer.step(f)
    optimizer.scalars["damping"] = 1.0
    step = type("Step", (), {"gain_ratio": gain})()
    optimizer.direction.accept(step, None)
    assert low <= optimizer.scalars["damping"] * (1 + 1e-12)
    assert optimizer.scalars["damping"] <= high * (1 + 1e-12)


def test_resumes_bit_for_bit():
    model, f = regression()
    optimizer = LevenbergMarquardt(model.parameters())
    for _ in range(5):
        optimizer.step(f)
    twin, g = regression()
    twin.load_state_dict(model.state_dict())
    resumed = LevenbergMarquardt(twin.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [optimizer.step(f) for _ in range(4)] == [resumed.step(g) for _ in range(4)]


def test_goes_on_when_points_are_redrawn():
    model, f = regression()
    optimizer = LevenbergMarquardt(model.parameters())
    run(optimizer, f, 10)
    x = torch.linspace(-0.9, 0.9, 33, dtype=torch.float64).unsqueeze(1)
    f.redraw((x, torch.sin(3.0 * x)))
    before = f.loss()
    assert run(optimizer, f, 10) < before


def test_parameters_that_nothing_feels_stay():
    a, b = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    f = LeastSquares(lambda: a - 3.0, [a, b])
    assert run(LevenbergMarquardt([a, b]), f, 20) < 1e-20
    assert torch.equal(b.detach(), torch.ones(2, dtype=torch.float64))


def test_dense_algebra_is_priced():
    model, f = regression()
    LevenbergMarquardt(model.parameters()).step(f)
    assert f.meter.gradient_equivalents > f.meter.forwards / 3.0 + f.meter.gradients
    assert f.flops_per_gradient == 6.0 * 19 * 40


def test_needs_residuals():
    p = torch.ones(1, requires_grad=True)

    def closure():
        loss = p.square().sum()
        loss.backward()
        return loss

    with pytest.raises(UnsupportedError, match="LeastSquares"):
        LevenbergMarquardt([p]).step(closure)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"solver": "lu"}, "solver"), ({"scale": "rows"}, "scale"), ({"shrink": 1.0}, "shrink"), ({"damping": 0.0}, "damping"),
     ({"geodesic_limit": -1.0}, "geodesic_limit")],
)  # fmt: skip
def test_refuses_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        LevenbergMarquardtDirection(**options)


def test_reset_forgets():
    x, f = start(rosenbrock, [-1.2, 1.0])
    optimizer = LevenbergMarquardt([x])
    optimizer.step(f)
    optimizer.direction.reset()
    assert optimizer.scalars["damping"] == 0.0
    optimizer.step(f)
    assert optimizer.scalars["damping"] > 0.0


@pytest.mark.timeout(60)
def test_normal_equations_out_of_range_end_with_an_error():
    p = nn.Parameter(torch.ones(2))
    f = LeastSquares(lambda: 1e25 * p, [p])
    with pytest.raises(NonFiniteError):
        LevenbergMarquardt([p]).step(f)


@pytest.mark.parametrize("budget", [3.0, 10.0, 40.0, 75.0])
def test_no_jacobian_is_made_that_the_budget_does_not_pay_for(budget):
    torch.manual_seed(0)
    matrix, right = torch.randn(60, 20, dtype=torch.float64), torch.randn(60, dtype=torch.float64)
    x = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    f = LeastSquares(lambda: (matrix @ x).sin() - right, [x], reduction="sum")
    optimizer = LevenbergMarquardt([x], budget=budget)
    optimizer.minimize(f, 100)
    assert f.meter.gradient_equivalents <= budget + 1.5
    made = [record for record in optimizer.history if "damping" in record.extra]
    assert bool(made) == (budget > 30.0)
    assert all(record.restart == "the budget allows no Jacobian" for record in optimizer.history if record not in made)


def test_what_is_left_of_a_budget_is_said_to_be_too_little() -> None:
    p = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    function = LeastSquares(lambda: torch.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]]), [p])
    optimizer = LevenbergMarquardt([p], budget=15.0)
    optimizer.minimize(function, 50)
    last = optimizer.history[-1]
    assert (last.restart, last.step) == ("the budget allows no Jacobian", 0.0)
    assert function.meter.gradient_equivalents < 14.0
    assert optimizer.stop_reason is StopReason.BUDGET


@pytest.mark.filterwarnings("ignore::homestretch.errors.PrecisionWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [LevenbergMarquardt, GaussNewtonCG, lambda p: NewtonCG(p, trust_radius=1.0)])
def test_at_a_kink_at_the_origin_it_gives_up_once_the_promises_are_below_rounding(make, dtype):
    """Parameters of zero have no rounding: the damping grew on, in float32 until it overflowed, which was an error."""
    p = torch.zeros(2, dtype=dtype, requires_grad=True)
    function = LeastSquares(lambda: 1.0 + torch.where(p > 0.0, p, -2.0 * p), [p])
    optimizer = make([p])
    optimizer.minimize(function, 20)
    assert optimizer.stop_reason is StopReason.NO_DECREASE
    assert function.meter.gradient_equivalents < 100.0
