"""How Jacobians of least squares are made, found out anew where it may have changed; test_least_squares.py has the rest."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from homestretch import LeastSquares, vectors


class Sample(NamedTuple):
    where: Tensor
    weight: Tensor


def coupled(model, points):
    """Entries depend on other points as far as the weights let them."""
    where, weight = points.values() if isinstance(points, dict) else points
    return model(where) + (weight * model(where)).mean()


def problem(make, weight):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    return LeastSquares(coupled, net, points(make, weight))


def points(make, weight, count=20):
    where = torch.linspace(0.0, 1.0, count, dtype=torch.float64).unsqueeze(1)
    return make(where, weight * torch.ones_like(where))


def oracle(f):
    """The Jacobian row by row."""
    with torch.enable_grad():
        rho = f.stacked()
    return torch.stack([vectors.pack(torch.autograd.grad(r, f.parameters, retain_graph=True)) for r in rho])


STRUCTURES = [lambda x, w: (x, w), lambda x, w: {"where": x, "weight": w}, Sample]


@pytest.mark.parametrize("make", STRUCTURES, ids=["tuple", "dictionary", "named tuple"])
@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 0.0)])
def test_points_given_anew_may_be_coupled(make, before, after):
    f = problem(make, before)
    modes = []
    for weight in (before, after):
        f.redraw(points(make, weight))
        torch.testing.assert_close(f.jacobian(), oracle(f), rtol=1e-10, atol=1e-12)
        modes.append(f.jacobian_mode == "per point")
        assert modes[-1] == (weight == 0.0), f.jacobian_reason
        assert bool(f.jacobian_reason) != modes[-1]


def test_the_mode_is_kept_where_nothing_was_given():
    f = problem(Sample, 0.0)
    f.jacobian()
    spent = f.meter.gradient_equivalents
    f.jacobian()
    once = f.meter.gradient_equivalents - spent
    assert f.jacobian_price() == pytest.approx(once)
    f.redraw(points(Sample, 0.0, count=10))
    f.jacobian()
    assert f.meter.gradient_equivalents - spent == pytest.approx(3.0 * once)  # found out anew, then made


def test_a_state_keeps_what_a_jacobian_costs():
    """A budget that was resumed was planned with the price of a single residual a point."""

    def two(model, points):
        return {"one": model(points.where), "two": 2.0 * model(points.where)}

    net = problem(Sample, 0.0).model
    known, resumed = (LeastSquares(two, net, points(Sample, 0.0)) for _ in range(2))
    known.jacobian()
    resumed.load_state_dict(known.state_dict())
    assert resumed.jacobian_price() == known.jacobian_price() > 2.0
    assert resumed.meter.gradient_equivalents == 0.0


def system(model, points):
    """Two equations at one set of points, a condition at another."""
    u = model(points["equations"])
    return {"mass": u[:, 0] + points["equations"][:, 0], "momentum": u.square(), "border": model(points["border"])}


def test_a_system_of_equations_has_its_jacobian_point_by_point():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x = torch.linspace(0.0, 1.0, 20, dtype=torch.float64).unsqueeze(1)
    f = LeastSquares(system, net, {"equations": x, "border": x[:3]}, weights={"mass": 3.0, "border": 10.0})
    torch.testing.assert_close(f.jacobian(), oracle(f), rtol=1e-10, atol=1e-12)
    assert f.jacobian_mode == "per point"
    assert float(f.residuals().square().sum()) == pytest.approx(f.loss(), rel=1e-13)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)
        self.outer = nn.Linear(4, 1)

    def forward(self, x):
        return self.outer(self.inner(x, x, x, need_weights=False)[0]).sum(1)


def test_attention_has_its_jacobian_point_by_point_without_a_warning_of_torchs():
    torch.manual_seed(2)
    f = LeastSquares(lambda m, x: m(x), Attention().double(), torch.randn(9, 5, 4, dtype=torch.float64), held_out=0.2)
    torch.testing.assert_close(f.jacobian(), oracle(f), rtol=1e-9, atol=1e-12)
    assert f.jacobian_mode == "per point"
