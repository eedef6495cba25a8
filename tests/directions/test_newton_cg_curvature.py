"""Newton-CG where the Hessian is indefinite, within trust regions and where steps fail."""

from __future__ import annotations

import itertools

import pytest
import torch

from homestretch import Diagonal, GaussNewtonCG, LeastSquares, NewtonCG, StopReason
from tests.directions.problems import Exact, convex, rosenbrock, saddle


@pytest.mark.parametrize("options", [{"follow": True}, {"follow": False}, {"trust_radius": 0.5}])
@pytest.mark.parametrize("start", [(0.5, 1e-3), (0.0, 0.2), (1.0, 0.1)])
def test_leaves_a_saddle_along_negative_curvature(options, start):
    f = Exact(saddle, start)
    optimizer = NewtonCG([f.x], **options)
    optimizer.minimize(f, 60)
    assert any("negative_curvature" in r.extra for r in optimizer.history)
    torch.testing.assert_close(f.x.detach().abs(), torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-5, rtol=0)
    losses = [r.loss for r in optimizer.history]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(losses))


def test_negative_curvature_at_once_takes_the_preconditioned_gradient():
    f = Exact(saddle, (0.0, 0.2))
    scale = Diagonal([torch.tensor([4.0, 0.5], dtype=torch.float64)])
    optimizer = NewtonCG([f.x], preconditioner=scale)
    optimizer.step(f)
    record = optimizer.history[0]
    assert record.extra["negative_curvature"] == 1.0
    assert record.extra["inner_iterations"] == 1.0
    assert float(f.x.detach()[0]) == 0.0
    assert float(f.x.detach()[1]) > 0.2


@pytest.mark.parametrize(("follow", "along"), [(True, 1), (False, 0)])
def test_the_direction_followed_is_the_one_asked_for(follow, along):
    # The first product, along the gradient, is positive; the second meets the negative curvature along the second unknown.
    f = Exact(lambda x: 5.0 * x[0].square() - 0.1 * x[1].square() + x[1].pow(4), (1.0, 0.1))
    start = f.x.detach().clone()
    optimizer = NewtonCG([f.x], follow=follow)
    optimizer.allocate()
    optimizer.scalars["forcing"] = 1e-6
    optimizer.step(f)
    moved = (f.x.detach() - start).abs()
    assert optimizer.history[0].extra["inner_iterations"] == 2.0
    assert int(moved.argmax()) == along


def test_radius_follows_the_gain_ratio():
    f = Exact(rosenbrock, [-1.2, 1.0])
    optimizer = NewtonCG([f.x], trust_radius=0.01)
    radii = []
    for _ in range(6):
        before = f.x.detach().clone()
        optimizer.step(f)
        length = float((f.x.detach() - before).norm())
        radii.append((length, optimizer.scalars["radius"], optimizer.history[-1].extra["gain_ratio"]))
    assert radii[0][0] == pytest.approx(0.01)
    assert radii[0][1] == 0.02  # a good step that ended on the border
    assert radii[1][0] == pytest.approx(0.02)
    assert all(gain > 0.0 for _, _, gain in radii)


def test_a_rejected_step_cuts_the_radius():
    f = Exact(rosenbrock, [-1.2, 1.0])
    optimizer = NewtonCG([f.x], trust_radius=1e6)
    optimizer.minimize(f, 60)
    assert f.loss() < 1e-10
    far = Exact(lambda x: torch.where(x.abs() < 2.0, x.square(), torch.nan).sum() - 100.0 * x.sum(), [0.5])
    careful = NewtonCG([far.x], trust_radius=1e3)
    careful.step(far)
    assert careful.scalars["radius"] < 10.0
    assert float(far.x.detach()) < 2.0


def test_steepest_descent_once_where_the_search_finds_nothing():
    f = Exact(convex, torch.ones(3))
    optimizer = NewtonCG([f.x])
    optimizer.step(f)
    direction = optimizer.direction
    point = optimizer._point(f)
    assert direction.reject(None, point)
    proposal = direction.propose(point)
    assert proposal.restart != ""
    torch.testing.assert_close(proposal.vector[0], -point.gradient[0])
    assert not direction.reject(None, point)


def test_products_that_are_not_finite_lead_to_steepest_descent():
    f = Exact(convex, torch.ones(3))
    f.hessian_product = lambda vector: [torch.full_like(t, torch.nan) for t in vector]
    before = f.loss()
    optimizer = NewtonCG([f.x])
    optimizer.minimize(f, 5)
    assert all("no product was finite" in r.restart for r in optimizer.history)
    assert f.loss() < before


def narrow():
    """A valley in which the guess of a first step, 1 % of the parameters, overshoots."""
    x = torch.tensor([1.0, 1e-4], dtype=torch.float64, requires_grad=True)
    return x, LeastSquares(lambda: x * torch.tensor([1.0, 100.0]), [x], reduction="sum")


def test_within_a_trust_region_the_steepest_descent_becomes_shorter_where_it_fails():
    """Sixty times the same step was tried, for two gradients each, and the loop gave up."""
    x, f = narrow()
    f.hessian_product = lambda vector: [torch.full_like(t, torch.nan) for t in vector]
    before = f.loss()
    optimizer = NewtonCG([x], trust_radius=1.0)
    assert optimizer.step(f) < before
    assert optimizer.history[-1].restart.count("no product was finite") == 1
    assert optimizer.history[-1].forwards < 10


@pytest.mark.parametrize("make", [lambda p: NewtonCG(p, trust_radius=1.0, budget=2.5), lambda p: GaussNewtonCG(p, budget=2.5)])
def test_where_the_budget_pays_for_no_product_a_failed_guess_ends_with_it(make):
    x, f = narrow()
    optimizer = make([x])
    optimizer.minimize(f, 20)
    assert optimizer.stop_reason is StopReason.BUDGET
    assert f.meter.forwards == 1.0  # the guess is not tried again and again
