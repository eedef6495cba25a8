from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import Adam

from homestretch import LBFGS, AtEpoch, LeastSquares, NoResort, SelfScaledBroyden, TwoPhase, fit
from homestretch.errors import UnsupportedError
from homestretch.history import EpochRecord, IterationRecord
from homestretch.objective.held_out import HeldOut
from homestretch.objective.redraw import Box, ResidualRedraw, UniformRedraw
from homestretch.objective.taylor import laplacian

SQUARE = Box([0.0, 0.0], [1.0, 1.0])


def pinn(model, points):
    return {"equation": laplacian(model, points["equation"])[1] + 1.0, "border": model(points["border"])}


def problem(redraw=None, seed=0, **options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    generator = torch.Generator().manual_seed(1)
    points = {"equation": SQUARE(40, generator), "border": SQUARE(12, generator)}
    redraw = redraw or {"equation": ResidualRedraw(SQUARE, 4), "border": UniformRedraw(SQUARE, 6)}
    return net, LeastSquares(pinn, net, points, weights={"border": 5.0}, redraw=redraw, seed=seed, **options)


def test_points_are_drawn_when_they_are_due():
    net, f = problem()
    optimizer = LBFGS(net.parameters())
    versions, draws = [], []
    for _ in range(14):
        optimizer.step(f)
        versions.append(f.version)
        draws.append((f.draws["equation"], f.draws["border"]))
    assert versions == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert draws[-1] == (3, 2)
    changed = [r.changed for r in optimizer.history]
    assert changed[4].startswith("the function changed: points of 'equation' drawn by residual, draw 1; the 4 pairs are kept")
    assert "points of 'border' drawn uniformly, draw 2" in changed[12]
    assert "points of 'equation' drawn by residual, draw 3" in changed[12]
    assert sum(bool(c) for c in changed) == 4


def run(make, redraw=None, seed=0, iterations=17):
    net, f = problem(redraw, seed)
    optimizer = make(net.parameters())
    optimizer.minimize(f, iterations)
    return [r.loss for r in optimizer.history]


def test_a_run_depends_on_its_seed_alone():
    first = run(LBFGS)
    torch.manual_seed(77)
    assert run(LBFGS) == first
    assert run(LBFGS, seed=1)[:4] == first[:4]
    assert run(LBFGS, seed=1) != first


@pytest.mark.parametrize("make", [LBFGS, SelfScaledBroyden])
def test_a_resumed_run_goes_on_bit_for_bit(make, tmp_path):
    expected = run(make)
    net, f = problem()
    optimizer = make(net.parameters())
    optimizer.minimize(f, 7)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "f": f.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    twin, g = problem()
    twin.load_state_dict(saved["net"])
    again = make(twin.parameters())
    again.load_state_dict(saved["optimizer"])
    g.load_state_dict(saved["f"])
    again.minimize(g, 10)
    assert [r.loss for r in again.history] == expected[7:]


def two_phase(epochs, saved=None):
    net, f = problem(held_out=HeldOut(0.2, every=2))
    optimizer = TwoPhase(
        net.parameters(), f, first=Adam(net.parameters(), lr=1e-2), second=LBFGS, rule=AtEpoch(5), resort=NoResort()
    )
    if saved is not None:
        net.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    return net, optimizer


def test_both_phases_draw_and_record_and_resume():
    _, whole = two_phase(14)
    epochs = whole.history.of(EpochRecord)
    assert [r.phase for r in epochs] == ["first"] * 5 + ["second"] * 9
    for record in epochs:
        terms = record.metrics
        assert terms["loss/equation"] + terms["loss/border"] == pytest.approx(record.loss, rel=1e-14)
    assert ["held_out_loss" in r.metrics for r in epochs] == [True, False] * 7
    # The count of iterations runs through both phases: fourteen make draws before the 5th, 9th and 13th, and the 7th and 13th.
    assert whole.objective.draws == {"equation": 3, "border": 2}
    for stop in (3, 8):
        net, part = two_phase(stop)
        saved = copy.deepcopy((net.state_dict(), part.state_dict()))
        _, rest = two_phase(14 - stop, saved)
        assert [r.loss for r in rest.history.of(EpochRecord)] == [r.loss for r in epochs][stop:]
    iterations = whole.history.of(IterationRecord)
    assert any("drawn by residual" in r.changed for r in iterations)


def test_a_fixed_sample_of_residuals_is_refused():
    net, f = problem()
    assert f.subset(f.samples) is f
    with pytest.raises(UnsupportedError, match="no subsets"):
        f.subset(10)
    with pytest.raises(ValueError, match="gradient_norm='exact'"):
        TwoPhase(net.parameters(), f, first=Adam(net.parameters()), gradient_norm="probe")


def test_a_residual_that_differentiates_by_autograd():
    """The plain PINN way: second derivatives by torch.autograd.grad inside the residual function."""

    def plain(model, points):
        x = points["equation"].detach().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        bend = sum(torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i : i + 1] for i in range(2))
        return {"equation": bend + 1.0, "border": model(points["border"])}

    net, f = problem(held_out=0.2)
    g = LeastSquares(plain, net, f.points, weights={"border": 5.0})
    assert g.loss() == pytest.approx(f.loss(), rel=1e-12)
    assert g.loss() == pytest.approx(float(g()), rel=1e-14)
    torch.testing.assert_close(g.residuals(), f.residuals(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(g.jacobian(), f.jacobian(), rtol=1e-8, atol=1e-10)
    assert "point by point" in g.jacobian_reason
    assert "derivatives.forward" in g.jacobian_reason
    v = [torch.randn_like(p) for p in g.parameters]
    for ours, theirs in zip(g.gauss_newton_product(v), f.gauss_newton_product(v), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-8, atol=1e-10)
    h = LeastSquares(lambda: plain(net, f.points), net.parameters(), weights={"border": 5.0})
    for ours, theirs in zip(h.gauss_newton_product(v), f.gauss_newton_product(v), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-8, atol=1e-10)
    for ours, theirs in zip(h.hessian_product(v), f.hessian_product(v), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"redraw": UniformRedraw(SQUARE, 1)}, "keys among equation, border"),
        ({"redraw": {"edge": UniformRedraw(SQUARE, 1)}}, "edge"),
        ({"redraw": {"edge": UniformRedraw(SQUARE, 1)}, "points": torch.zeros(3, 2)}, "edge"),
        ({"redraw": UniformRedraw(SQUARE, 1), "points": None}, "redraw needs points"),
        ({"held_out": 0.2, "points": None}, "held_out needs points"),
    ],
)
def test_wrong_arguments_are_refused(options, match):
    net = nn.Linear(2, 1)
    known = {"equation": torch.zeros(3, 2), "border": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=match):
        LeastSquares(**{"residuals": pinn, "model": net, "points": known, **options})


@pytest.mark.parametrize("redraw", [10, UniformRedraw, SQUARE, {"equation": SQUARE}])
def test_what_is_no_rule_is_refused_at_the_door(redraw):
    points = {"equation": torch.zeros(3, 2), "border": torch.zeros(3, 2)}
    with pytest.raises(TypeError, match=r"redraw must be a rule such as UniformRedraw\(domain, every=100\)"):
        LeastSquares(pinn, nn.Linear(2, 1), points, redraw=redraw)


def test_a_redraw_without_a_rule_and_a_foreign_state_are_refused():
    net, f = problem()
    plain = LeastSquares(pinn, net, f.points)
    with pytest.raises(ValueError, match="needs points, or a rule"):
        plain.redraw()
    with pytest.raises(ValueError, match="other redraw rules"):
        plain.load_state_dict(f.state_dict())
    shapeless = LeastSquares(
        lambda model, x: model(x).reshape(1, -1), net, SQUARE(5, torch.Generator()), redraw=ResidualRedraw(SQUARE, 1)
    )
    with pytest.raises(ValueError, match="must count their points"):
        shapeless.redraw()


def test_fit_takes_it_and_stops_at_the_held_out_residual():
    net, f = problem(held_out=HeldOut(0.2, every=1, patience=3))
    result = fit(net, f, epochs=60, second=LBFGS, rule=AtEpoch(3))
    last = result.history.of(EpochRecord)[-1]
    assert last.metrics.keys() >= {"loss/equation", "loss/border"}
    assert result.stop.startswith("the convex phase stopped: the held-out residual")
    with pytest.raises(ValueError, match="held_out="):
        fit(net, f, (torch.zeros(2), torch.zeros(2)), epochs=1)
    with pytest.raises(ValueError, match=r"has none of: .*held_out, .*callbacks, or make a TwoPhase with metrics"):
        fit(net, f, epochs=1, metrics={"error": lambda outputs, targets: 0.0})
    with pytest.raises(ValueError, match="model must be"):
        fit(nn.Linear(2, 1), f, epochs=1)


def test_weights_and_points_given_later_are_part_of_the_state():
    net, f = problem()
    LBFGS(net.parameters()).minimize(f, 5)  # one set of points has been drawn
    f.redraw({"equation": SQUARE(9, torch.Generator().manual_seed(7)), "border": f.points["border"][:5]})
    f.reweight({"border": 100.0})
    _, again = problem()
    again.model.load_state_dict(net.state_dict())
    again.load_state_dict(f.state_dict())
    assert again.version == f.version
    assert again.loss() == f.loss()
