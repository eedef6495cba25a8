"""What directions make of a function that has changed: curvature kept where it is positive definite, else rebuilt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from homestretch import LBFGS, ConjugateGradient, GaussNewtonCG, LeastSquares, LevenbergMarquardt, NewtonCG, SelfScaledBroyden
from homestretch.cost import CostMeter
from homestretch.directions.base import Point
from homestretch.directions.renewal import goes_downhill
from homestretch.objective.redraw import Box, UniformRedraw


def fit(every=15):
    """A fit of a sine whose points are drawn anew."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    x = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64).unsqueeze(1)
    rule = UniformRedraw(Box([-1.0], [1.0]), every)
    return net, LeastSquares(lambda model, at: model(at) - torch.sin(3.0 * at), net, x, redraw=rule)


METHODS = {
    "broyden": (SelfScaledBroyden, "the inverse Hessian is kept, it is positive definite"),
    "lbfgs": (lambda p: LBFGS(p, memory=10), "the 10 pairs are kept, they make a positive definite matrix"),
    "levenberg-marquardt": (LevenbergMarquardt, "the damping is kept, the Jacobian is made anew"),
    "gauss-newton": (GaussNewtonCG, "damping and last solution are kept"),
    "newton": (NewtonCG, "the radius is kept"),
    "conjugate gradients": (ConjugateGradient, "the direction is started afresh, the step length is kept"),
}


@pytest.mark.parametrize("method", METHODS)
def test_points_redrawn_under_a_method(method):
    make, sentence = METHODS[method]
    net, f = fit()
    optimizer = make(net.parameters())
    optimizer.minimize(f, 15)
    assert {r.changed for r in optimizer.history} == {""}
    before = f.loss()
    optimizer.step(f)
    assert f.version == 1
    record = optimizer.history[-1]
    assert record.changed == f"the function changed: points drawn uniformly, draw 1; {sentence}"
    # The point was evaluated anew: the loss at its start is that of the new points, not the last one's.
    assert record.loss != before
    optimizer.step(f)
    assert optimizer.history[-1].changed == ""
    # Gradient, loss and record belong to the new function.
    loss = optimizer.scalars["loss"]
    gradient = [p.grad.clone() for p in net.parameters()]
    assert float(f()) == loss
    for kept, p in zip(gradient, net.parameters(), strict=True):
        torch.testing.assert_close(kept, p.grad, rtol=1e-12, atol=1e-15)


def test_kept_curvature_is_used_and_beats_a_fresh_start():
    net, f = fit(every=10**6)
    optimizer = SelfScaledBroyden(net.parameters())
    optimizer.minimize(f, 60)
    kept = optimizer.direction.inverse_hessian
    f.redraw()
    optimizer.step(f)
    assert "tau" in optimizer.history[-1].extra  # a direction of the kept matrix
    assert float((optimizer.direction.inverse_hessian - kept).norm() / kept.norm()) < 1.0
    start = [p.detach().clone() for p in net.parameters()]
    optimizer.minimize(f, 20)
    with_curvature = f.loss()
    for p, value in zip(net.parameters(), start, strict=True):
        p.data.copy_(value)
    SelfScaledBroyden(net.parameters()).minimize(f, 20)
    assert with_curvature < f.loss()


@pytest.mark.parametrize("damage", [0.0, float("nan"), float("inf")])
def test_a_matrix_that_is_not_positive_definite_is_rebuilt(damage):
    net, f = fit(every=10**6)
    optimizer = SelfScaledBroyden(net.parameters())
    optimizer.minimize(f, 10)
    optimizer.direction._root.fill_(damage)
    f.redraw()
    before = optimizer.scalars["loss"]
    optimizer.step(f)
    assert optimizer.history[-1].changed.endswith("the inverse Hessian is rebuilt, it is not positive definite to rounding")
    assert math.isfinite(before)
    assert optimizer.stop_reason is None
    assert float(torch.linalg.eigvalsh(optimizer.direction.inverse_hessian)[0]) > 0.0


def test_pairs_that_are_not_positive_definite_are_dropped():
    net, f = fit(every=10**6)
    optimizer = LBFGS(net.parameters(), memory=5)
    optimizer.minimize(f, 10)
    optimizer.direction._small[0, 2, 2] = -1.0
    f.redraw()
    optimizer.step(f)
    assert optimizer.history[-1].changed.endswith("the 5 pairs are dropped, their matrix is not positive definite to rounding")
    assert optimizer.direction._count == 1
    assert optimizer.stop_reason is None


def test_nothing_known_yet_is_said_too():
    for make, sentence in ((SelfScaledBroyden, "there is no inverse Hessian yet"), (LBFGS, "there are no pairs yet")):
        x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        optimizer = make([x])
        point = Point([x.detach()], [torch.ones(2, dtype=torch.float64)], 1.0, None, _Nothing())
        optimizer._bind()
        assert optimizer.direction.renew(point) == sentence


class _Nothing:
    meter, version = CostMeter(), 0


def test_parameters_changed_by_others_are_said_in_the_record():
    net, f = fit(every=10**6)
    optimizer = LBFGS(net.parameters())
    optimizer.minimize(f, 3)
    with torch.no_grad():
        net[0].bias.add_(0.1)
    optimizer.step(f)
    assert optimizer.history[-1].changed.startswith("the parameters were changed between steps; the 3 pairs are kept")


def test_downhill_is_judged_beyond_rounding():
    g = [torch.tensor([1.0, 0.0], dtype=torch.float64)]
    point = Point([torch.zeros(2, dtype=torch.float64)], g, 0.0, None, _Nothing())
    down, across = torch.tensor([-1e-9, 0.0]), torch.tensor([-1e-17, 1.0])
    assert goes_downhill(point, [down.double()])
    for bad in (across, -down, torch.tensor([float("nan"), 0.0]), torch.tensor([float("-inf"), 0.0]), torch.zeros(2)):
        assert not goes_downhill(point, [bad.double()])
