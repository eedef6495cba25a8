from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from homestretch import Diagonal, LeastSquares, NewtonCG, NystromPreconditioner, Objective, vectors
from homestretch.directions.newton_cg import NewtonCGDirection, next_forcing
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.products import HessianProduct

VARIANTS = ["search", "trust region", "nystrom"]
START = [1.3, 0.7, 0.8, 1.9, 1.2, 0.6]  # others lead to the chained function's second minimum, some methods only


def variant(name):
    """Settings of NewtonCG."""
    return {"search": {}, "trust region": {"trust_radius": 1.0}, "nystrom": {"nystrom": NystromPreconditioner(4, 3)}}[name]


class Exact(ClosureFunction):
    """A function of one parameter with exact Hessian products."""

    def __init__(self, f, start):
        self.x = nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())
        self.parameters = [self.x]
        self._f = f
        self._product = HessianProduct(self.parameters)
        super().__init__(self._evaluate, self.parameters)

    def hessian_product(self, vector):
        self.meter.count_hessian_product(1.0)
        return self._product(lambda: self._f(self.x), vector)

    def _evaluate(self):
        loss = self._f(self.x)
        loss.backward()
        return loss


def convex(x):
    """Strongly convex, no quadratic, of condition number 1e3."""
    weights = torch.logspace(0, 3, x.numel(), dtype=x.dtype)
    return (weights * (torch.cosh(0.3 * x) + 0.1 * x)).sum() + (x[1:] - x[:-1]).square().sum()


def rosenbrock(x):
    return (100.0 * (x[1:] - x[:-1].square()).square() + (1.0 - x[:-1]).square()).sum()


def saddle(x):
    """Minima at (0, 1) and (0, -1), a saddle at the origin."""
    return 2.0 * x[0].square() - x[1].square() + 0.5 * x[1].pow(4)


def network(dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).to(dtype)
    x = torch.linspace(-1, 1, 40, dtype=dtype).unsqueeze(1)
    return model, Objective(model, nn.functional.mse_loss, (x, torch.sin(3.0 * x)))


@pytest.mark.parametrize("name", VARIANTS)
def test_quadratic_rate_near_a_minimum(name):
    f = Exact(convex, torch.linspace(-1.0, 1.0, 10))
    optimizer = NewtonCG([f.x], **variant(name))
    optimizer.minimize(f, 30)
    norms = [optimizer.scalars["first_gradient_norm"], *(r.gradient_norm for r in optimizer.history)]
    assert min(norms) < 1e-9
    assert max(_orders(norms)) > 1.7


def _orders(norms):
    """log(|g3| / |g2|) / log(|g2| / |g1|) over triples well above rounding: 2 for quadratic convergence."""
    triples = zip(norms, norms[1:], norms[2:], strict=False)
    return [math.log(c / b) / math.log(b / a) for a, b, c in triples if c > 1e-13 and b < 0.3 * a and c < b]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("method", ["trust-ncg", "Newton-CG"])
def test_finds_the_minimum_that_scipy_finds(name, products, method):
    peer = optimize.minimize(
        optimize.rosen, START, jac=optimize.rosen_der, hessp=optimize.rosen_hess_prod, method=method, options={"maxiter": 500}
    )
    f = Exact(rosenbrock, START)
    optimizer = NewtonCG([f.x], target_loss=1e-16, **variant(name))
    optimizer.minimize(f if products else f._evaluate, 300)
    assert optimizer.stop_reason.name == "TARGET"
    np.testing.assert_allclose(f.x.detach().numpy(), peer.x, atol=1e-4)
    assert ("gradient_differences" in optimizer.history[0].extra) is not products


def test_needs_no_more_iterations_than_scipys_trust_region():
    start = np.tile(START, 3)
    peer = optimize.minimize(
        optimize.rosen, start, jac=optimize.rosen_der, hessp=optimize.rosen_hess_prod, method="trust-ncg", tol=1e-6
    )
    f = Exact(rosenbrock, start)
    optimizer = NewtonCG([f.x], trust_radius=1.0, target_loss=max(float(peer.fun), 1e-20))
    optimizer.minimize(f, 300)
    assert optimizer.stop_reason.name == "TARGET"
    assert len(optimizer.history) <= 1.3 * peer.nit


def test_first_step_is_newtons_where_products_suffice():
    f = Exact(convex, torch.linspace(-1.0, 1.0, 6))
    start = f.x.detach().clone()
    hessian = torch.autograd.functional.hessian(convex, start)
    f()
    direction = NewtonCG([f.x], damping=2.0)
    direction.step(None)
    direction.scalars["forcing"] = 1e-12
    direction.step(f)
    (gradient,) = torch.autograd.grad(convex(start.requires_grad_()), start)
    expected = -torch.linalg.solve(hessian + 2.0 * torch.eye(6, dtype=torch.float64), gradient)
    length = direction.history[0].step
    torch.testing.assert_close(f.x.detach() - start.detach(), length * expected, rtol=1e-8, atol=1e-10)


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
    optimizer.step(None)
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


@pytest.mark.parametrize("name", VARIANTS)
def test_stops_with_a_reason_where_nothing_is_left(name):
    f = Exact(convex, torch.linspace(-1.0, 1.0, 5))
    optimizer = NewtonCG([f.x], **variant(name))
    optimizer.minimize(f, 200)
    assert optimizer.stop_reason is not None
    assert optimizer.scalars["gradient_norm"] < 1e-6


def test_steepest_descent_once_where_the_search_finds_nothing():
    direction = NewtonCGDirection()
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


def test_preconditioners_save_products():
    def products(**options):
        f = Exact(convex, torch.linspace(-1.0, 1.0, 40))
        optimizer = NewtonCG([f.x], target_loss=target, **options)
        optimizer.minimize(f, 100)
        assert optimizer.stop_reason.name == "TARGET"
        return sum(r.extra["inner_iterations"] for r in optimizer.history)

    reference = Exact(convex, torch.linspace(-1.0, 1.0, 40))
    NewtonCG([reference.x]).minimize(reference, 100)
    target = reference.loss() * (1.0 + 1e-10)
    diagonal = Diagonal([0.09 * torch.logspace(0, 3, 40, dtype=torch.float64) + 4.0])
    plain = products()
    assert products(preconditioner=diagonal) < 0.5 * plain
    assert products(nystrom=NystromPreconditioner(20, 5)) < 0.7 * plain


def test_a_network_with_products_of_its_objective():
    model, f = network()
    optimizer = NewtonCG(model.parameters())
    optimizer.minimize(f, 60)
    assert f.loss() < 1e-4
    assert f.hessian_mode == "forward-over-reverse"
    assert f.meter.hessian_products > 60


def test_least_squares_and_maximising():
    x = nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))
    f = LeastSquares(lambda: torch.stack([10.0 * (x[1] - x[0].square()), 1.0 - x[0]]), [x], reduction="sum")
    NewtonCG([x]).minimize(f, 60)
    torch.testing.assert_close(x.detach(), torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
    z = nn.Parameter(torch.tensor([0.5, -0.3], dtype=torch.float64))

    def closure():
        value = -torch.cosh(z - 1.0).sum()
        value.backward()
        return value

    NewtonCG([z], maximize=True).minimize(closure, 30)
    torch.testing.assert_close(z.detach(), torch.ones(2, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", [{}, {"trust_radius": 0.3}, {"nystrom": True, "damping": 1e-3}])
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("products", [True, False])
def test_a_reload_continues_bit_for_bit(options, at, products):
    def make():
        model, f = network()
        settings = {**options, "nystrom": NystromPreconditioner(5, 3)} if "nystrom" in options else options
        closure = f if products else (lambda: f())
        return model, closure, NewtonCG(model.parameters(), max_products=8, **settings)

    model, f, optimizer = make()
    for _ in range(at):
        optimizer.step(f)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = [optimizer.step(f) for _ in range(6)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin, g, fresh = make()
    twin.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["optimizer"])
    assert [fresh.step(g) for _ in range(6)] == expected
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_changed_function_makes_the_preconditioner_anew():
    model, f = network()
    optimizer = NewtonCG(model.parameters(), nystrom=NystromPreconditioner(5, 100))
    optimizer.minimize(f, 3)
    assert ["sketch_products" in r.extra for r in optimizer.history] == [True, False, False]
    optimizer.renew()
    optimizer.step(f)
    assert optimizer.history[-1].extra["sketch_products"] == 5.0


def test_the_solve_goes_as_far_as_the_forcing_term_says():
    f = Exact(convex, torch.linspace(-1.0, 1.0, 30))
    optimizer = NewtonCG([f.x])
    for _ in range(4):
        forcing = optimizer.scalars.get("forcing", 0.5)
        start = f.x.detach().clone()
        hessian = torch.autograd.functional.hessian(convex, start)
        (gradient,) = torch.autograd.grad(convex(start.requires_grad_()), start)
        optimizer.step(f)
        record = optimizer.history[-1]
        step = (f.x.detach() - start.detach()) / record.step
        residual = float((hessian @ step + gradient).norm() / gradient.norm())
        assert residual <= forcing + 1e-6  # below that the difference of two points is rounding


@pytest.mark.parametrize(
    ("last", "before", "after", "expected"),
    [
        (0.5, 1.0, 0.1, 0.225),  # the last one keeps the next from falling at once: 0.9 * 0.5^2
        (0.1, 1.0, 0.1, 0.009),
        (0.1, 1.0, 0.9, 0.5),
        (0.1, 1.0, 5.0, 0.5),
        (0.1, 1.0, 0.0, 0.0),
        (0.1, 0.0, 1.0, 0.5),
    ],
)
def test_forcing_terms(last, before, after, expected):
    assert next_forcing(last, before, after) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_products": 0}, "max_products"),
        ({"damping": -1.0}, "damping"),
        ({"damping": math.nan}, "damping"),
        ({"trust_radius": 0.0}, "trust_radius"),
        ({"trust_radius": math.inf}, "trust_radius"),
    ],
)
def test_wrong_settings_are_refused(options, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        NewtonCGDirection(**options)


def test_reset_forgets_everything():
    model, f = network()
    optimizer = NewtonCG(model.parameters(), trust_radius=0.3, nystrom=NystromPreconditioner(5, 100))
    optimizer.minimize(f, 5)
    optimizer.direction.reset()
    assert optimizer.scalars["forcing"] == 0.5
    assert optimizer.scalars["radius"] == 0.3
    optimizer.step(f)
    assert "sketch_products" in optimizer.history[-1].extra
    assert vectors.norm([p.grad for p in model.parameters()]) > 0.0
