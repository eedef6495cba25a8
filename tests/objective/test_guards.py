from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

from homestretch import LBFGS, LeastSquares, Objective
from homestretch.errors import HomestretchWarning, OverfitWarning, PrecisionWarning
from homestretch.objective.guards import explain_floor, warn_of_overfit
from homestretch.objective.redraw import Box, UniformRedraw


def network(dtype=torch.float64, width=6):
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).to(dtype)


def regression(dtype=torch.float64, count=12, **options):
    x = torch.linspace(-1.0, 1.0, count, dtype=dtype).unsqueeze(1)
    return LeastSquares(lambda model, data: model(data[0]) - data[1], network(dtype), (x, torch.sin(3.0 * x)), **options)


def test_more_parameters_than_residuals_are_warned_about_once():
    f = regression()
    with pytest.warns(OverfitWarning, match="19 parameters are fitted to 12 residuals.*held_out") as caught:
        f()
    assert caught[0].filename == __file__
    f()  # warnings are errors in these tests: a second one would fail
    assert issubclass(OverfitWarning, HomestretchWarning)


def test_a_loss_in_the_place_of_residuals_is_told():
    """Those who write the usual loss of a network into the residual function get the squares of means of squares."""
    x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64).unsqueeze(1)
    f = LeastSquares(lambda model, at: {"equation": (model(at) - at).square().mean()}, network(), x)
    with pytest.warns(OverfitWarning, match="1 residuals.*Each term is a single number here: .* neither squared nor averaged"):
        f()


def test_no_warning_where_something_looks_between_the_points_or_there_are_enough():
    x = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).unsqueeze(1)
    net = network()
    with warnings.catch_warnings(record=True) as caught:
        regression(count=19)()
        regression(held_out=0.25)()
        LeastSquares(lambda model, at: model(at) - at, network(), x, redraw=UniformRedraw(Box([-1.0], [1.0]), 5))()
        LeastSquares(lambda: net(x), net)()  # a function of the parameters, not a fit to points
        warn_of_overfit(5, 5)
    assert not caught


def test_the_floor_of_float32_is_measured_and_explained():
    net = network(torch.float32, width=10)
    x = torch.linspace(-1.0, 1.0, 60).unsqueeze(1)
    f = LeastSquares(lambda model, data: model(data) - torch.sin(3.0 * data), net, x)
    optimizer = LBFGS(net.parameters())
    with pytest.warns(PrecisionWarning, match=r"floor of float32.*objective\.promote\(\)"):
        optimizer.minimize(f, 3000)
    assert optimizer.stop_reason.name == "NO_DECREASE"
    floor, rounding = f.loss(), f.rounding()
    f.promote()
    assert {p.dtype for p in net.parameters()} == {f.points.dtype} == {torch.float64}
    assert f.loss() == pytest.approx(floor, rel=2.0 * math.sqrt(rounding / floor))  # the uncertainty that was warned of
    optimizer.minimize(f, 600)
    assert f.loss() < 0.5 * floor  # how far 600 iterations lead depends on the last digit of the processor
    assert f.rounding() == 0.0


def test_rounding_is_the_difference_to_float64():
    f = regression(torch.float32, count=30)
    model, (x, y) = f.model, f.points
    wide = network()
    wide.load_state_dict({k: v.double() for k, v in model.state_dict().items()})
    exact = wide(x.double()) - y.double()
    expected = (exact - (model(x) - y).double()).square().mean()
    assert f.rounding() == pytest.approx(float(expected.detach()), rel=1e-6)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert f.points[0].dtype == torch.float32


def test_far_from_the_floor_nothing_is_said_and_unknown_rounding_is():
    assert explain_floor(1.0, 1e-12, torch.float32) == ""
    assert "may be why" in explain_floor(1e-9, math.nan, torch.float32)
    assert regression().diagnose() == ""
    net = network(torch.float32)
    x = torch.linspace(-1.0, 1.0, 30).unsqueeze(1)
    assert math.isnan(LeastSquares(lambda: net(x), net).rounding())
    assert math.isnan(LeastSquares(lambda _, at: net(at), net, x).rounding())  # the model is not taken from the argument


def test_a_stop_in_float64_is_not_blamed_on_precision():
    f = regression(count=19)
    optimizer = LBFGS(f.parameters, budget=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.minimize(f, 50)
    assert optimizer.stop_reason.name == "BUDGET"


@pytest.mark.parametrize(
    ("stranger", "shapes"),
    [
        (network(), r"\(4, of shapes \(.*\), ...\)"),
        (nn.Parameter(torch.ones(3)), r"\(1, of shapes \(3,\)\)"),
        (torch.ones((), dtype=torch.float64, requires_grad=True), r"\(1, of shapes \(\)\)"),
    ],
)
def test_what_a_function_depends_on_and_nothing_trains_is_warned_about_once(stranger, shapes):
    x = torch.linspace(-1.0, 1.0, 30, dtype=torch.float64).unsqueeze(1)
    at = x.clone().requires_grad_()  # points that ask for gradients are no unknowns
    other = stranger(x) if isinstance(stranger, nn.Module) else stranger.sum()
    f = LeastSquares(lambda model, points: model(points) - other, network(), at)
    with pytest.warns(HomestretchWarning, match=f"the residual function depends on.*will not be trained {shapes}") as caught:
        f()
    assert caught[0].filename == __file__
    other = stranger(x) if isinstance(stranger, nn.Module) else stranger.sum()
    f()
    other = stranger(x) if isinstance(stranger, nn.Module) else stranger.sum()
    pairs = Objective(network(), lambda outputs, targets: (outputs - targets - other).square().mean(), (x, x), batch_size=30)
    with pytest.warns(HomestretchWarning, match="the loss depends on.*requires_grad_"):
        next(iter(pairs.minibatches(1)))()
    other = stranger(x) if isinstance(stranger, nn.Module) else stranger.sum()
    pairs()


def test_a_residual_for_every_pair_of_points_is_warned_about():
    x = torch.linspace(-1.0, 1.0, 30, dtype=torch.float64).unsqueeze(1)
    for name, points in (("data", {"data": (x, x[:, 0])}), ("other", {"data": (x, x[:, 0]), "border": x[:2]})):
        f = LeastSquares(lambda m, p, name=name: {name: m(p["data"][0]) - p["data"][1]}, network(), points)
        with pytest.warns(HomestretchWarning, match=rf"term '{name}' has shape \(30, 30\) over 30 points.*unsqueeze\(1\)"):
            f()
    f.points["data"] = (x, x)
    LeastSquares(lambda m, p: m(p["data"][0]) - p["data"][1], network(), f.points)()
