"""The benchmark's problems are what they say: terms, exact solutions, points, warm-up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.sciml import (
    PROBLEMS,
    Burgers,
    Convection,
    Poisson2D,
    Problem,
    WarmUp,
    Zoo,
    burgers,
    convection,
    make_problem,
    poisson_2d,
    warm_up,
)
from benchmarks.sciml.networks import tanh_network
from homestretch.objective import Tanh

SMALL = {
    "zoo": lambda seed: Zoo(seed, "runge", 8, points=41),
    "poisson-2d": lambda seed: Poisson2D(seed, width=8, side=5),
    "convection": lambda seed: Convection(seed, (6, 6), points=30),
    "burgers": lambda seed: Burgers(seed, (6, 6), points=40, sides=10),
}


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_the_loss_is_the_sum_of_squares_and_the_seed_decides_all(make) -> None:
    problem, again, other = make(0), make(0), make(1)
    terms = problem.residuals()
    assert all(r.ndim == 1 and r.dtype == torch.float64 for r in terms.values())
    torch.testing.assert_close(problem.loss(), sum(r.square().sum() for r in terms.values()))
    assert problem.loss().item() == again.loss().item() != other.loss().item()
    assert problem.error() == again.error() > 0
    problem.loss().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in problem.module.parameters())


@pytest.mark.parametrize(
    ("name", "size", "terms"),
    [
        ("zoo-sin-64", 193, {"data": 2003}),
        ("zoo-runge-256", 769, {"data": 2003}),
        ("poisson-2d", 257, {"equation": 900, "border": 120}),
        ("convection", 5301, {"equation": 2500, "start": 257, "border": 101}),
        ("burgers", 1341, {"equation": 8000, "start": 500, "ends": 500}),
    ],
)
def test_published_sizes(name: str, size: int, terms: dict[str, int]) -> None:
    problem = make_problem(name)
    assert problem.name == name
    assert problem.size == size
    with torch.no_grad():
        assert {key: r.numel() for key, r in problem.residuals().items()} == terms


def test_all_names_are_made_and_others_refused() -> None:
    assert len(PROBLEMS) == 9
    with pytest.raises(ValueError, match=r"no problem is called 'heat'.*poisson-2d"):
        make_problem("heat")
    with pytest.raises(ValueError, match="target must be one of sin, runge"):
        Zoo(target="step")


class Known(nn.Module):
    """A function in place of the network."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, points: Tensor) -> Tensor:
        return self.function(points)


@pytest.mark.parametrize(
    ("problem", "solution", "terms"),
    [
        (Zoo(0, "sin"), lambda x: torch.sin(math.pi * x), ("data",)),
        (Zoo(0, "runge"), lambda x: 1 / (1 + 25 * x**2), ("data",)),
        (Poisson2D(), poisson_2d.exact, ("border",)),
        (Convection(), convection.exact, ("start", "border")),
    ],
    ids=["sin", "runge", "poisson-2d", "convection"],
)
def test_the_exact_solution_has_no_error_and_meets_the_conditions(problem: Problem, solution, terms) -> None:
    class Exact(nn.Linear):  # of a kind that Taylor propagation takes, its outputs aside
        def __call__(self, points: Tensor) -> Tensor:
            return solution(points)

    inputs = problem.module[0].in_features
    problem.module = Exact(inputs, 1, dtype=torch.float64)  # type: ignore[assignment]
    assert problem.error() < 1e-14
    residuals = problem.residuals()
    assert max(residuals[name].abs().max().item() for name in terms) < 1e-12


def autograd_derivatives(function, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values (N,), first (N, 2) and pure second derivatives (N, 2), by autograd through autograd."""
    x = points.clone().requires_grad_()
    values = function(x)[:, 0]
    (first,) = torch.autograd.grad(values.sum(), x, create_graph=True)
    second = [torch.autograd.grad(first[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2)]
    return values, first, torch.stack(second, dim=1)


def poisson_residual(u: Tensor, first: Tensor, second: Tensor, points: Tensor) -> Tensor:
    return second.sum(1) + 2 * math.pi**2 * poisson_2d.exact(points)[:, 0]


def convection_residual(u: Tensor, first: Tensor, second: Tensor, points: Tensor) -> Tensor:
    return first[:, 1] + 40 * first[:, 0]


def burgers_residual(u: Tensor, first: Tensor, second: Tensor, points: Tensor) -> Tensor:
    return first[:, 1] + u * first[:, 0] - 0.01 / math.pi * second[:, 0]


EQUATIONS = {"poisson-2d": poisson_residual, "convection": convection_residual, "burgers": burgers_residual}


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations_equal_autograd(name: str) -> None:
    problem = SMALL[name](0)
    wanted = EQUATIONS[name](*autograd_derivatives(problem.module, problem.inner), problem.inner)
    wanted = wanted / math.sqrt(len(problem.inner))
    torch.testing.assert_close(problem.residuals()["equation"], wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("name", "solution"), [("poisson-2d", poisson_2d.exact), ("convection", convection.exact)])
def test_exact_solutions_solve_the_equations(name: str, solution) -> None:
    points = make_problem(name).inner
    residual = EQUATIONS[name](*autograd_derivatives(solution, points), points)
    assert residual.abs().max() < 1e-11


def test_burgers_reference_solves_the_equation() -> None:
    x, t, h = np.linspace(-0.95, 0.95, 39), np.linspace(0.1, 1.0, 10), 1e-4
    u = burgers.exact(x, t)
    u_t = (burgers.exact(x, t + h) - burgers.exact(x, t - h)) / (2 * h)
    right, left = burgers.exact(x + h, t), burgers.exact(x - h, t)
    residual = u_t + u * (right - left) / (2 * h) - burgers.VISCOSITY * (right - 2 * u + left) / h**2
    scale = np.abs((right - left) / (2 * h)).max()
    assert np.abs(residual).max() < 1e-4 * scale
    np.testing.assert_allclose(u, burgers.exact(x, t, nodes=120), atol=1e-13)
    np.testing.assert_allclose(burgers.exact(-x, t), -u, atol=1e-13)


def test_redraw_prefers_large_residuals_and_is_reproducible() -> None:
    problem, again = (Burgers(3, (8, 8), 2000, 20, WarmUp(200)) for _ in range(2))
    warm_up(problem)
    again.module.load_state_dict(problem.module.state_dict())
    before = burgers.equation(problem.module, problem.inner).abs().mean().item()
    for candidate in (problem, again):
        candidate.redraw()
    assert torch.equal(problem.inner, again.inner)
    assert len(problem.inner) == 2000
    assert burgers.equation(problem.module, problem.inner).abs().mean().item() > 1.2 * before
    low, high = problem.inner.min(0).values, problem.inner.max(0).values
    assert (low >= torch.tensor([-1.0, 0.0])).all()
    assert (high <= torch.tensor([1.0, 1.0])).all()


def test_border_of_the_square_has_each_corner_once() -> None:
    points = poisson_2d.border(30)
    assert points.unique(dim=0).shape == (120, 2)
    assert ((points == 0) | (points == 1)).any(1).all()


def test_network_is_xavier_normal_with_zero_biases() -> None:
    net = tanh_network((100, 300, 1), seed=1)
    assert net[0].weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert all(layer.bias.abs().max() == 0 for layer in net if isinstance(layer, nn.Linear))
    assert [type(layer) for layer in net] == [nn.Linear, Tanh, nn.Linear]


def test_warm_up_ramps_then_falls_to_zero_and_lowers_the_loss() -> None:
    plan = WarmUp(steps=200, learning_rate=1e-2, ramp=20)
    factors = [plan.factor(step) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 20)
    assert factors[19:21] == [1.0, 1.0]
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert 0 < factors[-1] < 1e-3
    problem = Zoo(0, "sin", 8, points=51, warm_up=plan)
    before = problem.loss().item()
    optimizer = warm_up(problem)
    assert problem.loss().item() < 0.5 * before
    assert optimizer.state[problem.module[0].weight]["step"] == 200


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_least_squares_is_the_same_loss_with_a_jacobian_point_by_point(make) -> None:
    problem = make(0)
    objective = problem.least_squares()
    assert objective.loss() == pytest.approx(problem.loss().item(), rel=1e-13)
    assert objective.find_jacobian_mode() == "per point", objective.jacobian_reason
    assert objective.flops_per_gradient > 2 * problem.size
    assert problem.held_out_loss() > 0.0
    name = next(iter(problem.points))
    held, trained = problem.held_out[name], problem.points[name]
    assert not torch.equal(held[0], trained[0])
