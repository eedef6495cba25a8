from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from homestretch import Diagonal, HagerZhang, LeastSquares, NewtonCG, NystromPreconditioner, Objective
from homestretch.directions.newton_cg import NewtonCGDirection, next_forcing
from tests.directions.problems import Exact, convex, network, rosenbrock

VARIANTS = ["search", "trust region", "nystrom"]
START = [1.3, 0.7, 0.8, 1.9, 1.2, 0.6]  # others lead to the chained function's second minimum, some methods only


class NoTangents(torch.autograd.Function):
    """x^3 with a derivative of any order, but none in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3.0 * x**2 * gradient


class NoSecondDerivative(NoTangents):
    """x^3 with a first derivative only."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 3.0 * ctx.saved_tensors[0] ** 2 * gradient


def variant(name):
    """Settings of NewtonCG."""
    return {"search": {}, "trust region": {"trust_radius": 1.0}, "nystrom": {"nystrom": NystromPreconditioner(4, 3)}}[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_quadratic_rate_near_a_minimum(name):
    f = Exact(convex, torch.linspace(-1.0, 1.0, 10))
    optimizer = NewtonCG([f.x], **variant(name))
    optimizer.minimize(f, 30)
    norms = [optimizer.scalars["first_gradient_norm"], *(r.gradient_norm for r in optimizer.history)]
    assert min(norms) < 1e-8 * norms[0]  # steps are taken as long as the loss, here 1762, can tell them apart
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
    assert ("hessian: gradient differences" in optimizer.history[0].extra) is not products


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
    direction.allocate()
    direction.scalars["forcing"] = 1e-12
    direction.step(f)
    (gradient,) = torch.autograd.grad(convex(start.requires_grad_()), start)
    expected = -torch.linalg.solve(hessian + 2.0 * torch.eye(6, dtype=torch.float64), gradient)
    length = direction.history[0].step
    torch.testing.assert_close(f.x.detach() - start.detach(), length * expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", VARIANTS)
def test_stops_with_a_reason_where_nothing_is_left(name):
    f = Exact(convex, torch.linspace(-1.0, 1.0, 5))
    optimizer = NewtonCG([f.x], **variant(name))
    optimizer.minimize(f, 200)
    assert optimizer.stop_reason is not None
    assert optimizer.scalars["gradient_norm"] < 1e-6


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


@pytest.mark.parametrize(
    ("cube", "way"),
    [
        (lambda z: z**3, "forward-over-reverse"),
        (NoTangents.apply, "reverse-over-reverse"),
        (NoSecondDerivative.apply, "differences"),
    ],
)
def test_falls_back_to_the_products_that_the_model_allows_and_says_so(cube, way):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x, t = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    f = Objective(model, lambda z, y: (cube(z) - y).square().mean() + z.square().mean(), (x, t))
    optimizer = NewtonCG(model.parameters())
    optimizer.minimize(f, 12)
    assert {key for r in optimizer.history for key in r.extra if key.startswith("hessian")} == {f"hessian: {way}"}
    assert optimizer.scalars["gradient_norm"] < 1e-6 * optimizer.scalars["first_gradient_norm"]


def test_a_radius_beyond_the_step_is_not_paid_for_again():
    """Rejected within the trust region, the same step would be solved for at every radius that is longer than it."""

    def cost(radius):
        x = torch.tensor([2.0, 3.0, -5.0], dtype=torch.float64, requires_grad=True)

        def closure():
            loss = (1.0 + x.square()).sqrt().sum()  # convex, and Newton's step from here leads further away
            x.grad = None
            loss.backward()
            return loss

        optimizer = NewtonCG([x], trust_radius=radius)
        optimizer.minimize(closure, 100)
        assert float(x.detach().abs().max()) < 1e-6
        return sum(record.extra["inner_iterations"] for record in optimizer.history)

    assert cost(1e40) == cost(1e6)


@pytest.mark.parametrize("options", [{"damping": 1.0}, {"damping": 10.0}, {"search": HagerZhang()}])
def test_on_a_quadratic_the_gain_ratio_is_one(options):
    """Whatever the damping and the length of the step: the model is the function."""
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)
    f = LeastSquares(lambda: scale * x, [x], reduction="sum")
    optimizer = NewtonCG([x], trust_radius=0.1, **options)
    for _ in range(3):
        optimizer.step(f)
    assert [record.extra["gain_ratio"] for record in optimizer.history] == pytest.approx([1.0] * 3, rel=1e-6)
