from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from homestretch import LBFGS, AtEpoch, LeastSquares, LevenbergMarquardt, NoResort, fit
from homestretch.objective.held_out import HeldOut, HeldOutWatch

NOISE = torch.randn(24, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def noisy_fit(held_out, width=6, seed=1):
    """A network with more freedom than 24 noisy values can bind."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).double()
    x = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).unsqueeze(1)
    data = (x, torch.sin(3.0 * x) + 0.3 * NOISE)
    return net, LeastSquares(lambda model, data: model(data[0]) - data[1], net, data, held_out=held_out)


def value_at(f, points):
    return float((f.model(points[0]) - points[1]).square().mean().detach())


def test_a_fraction_is_taken_out_of_every_set_and_rows_stay_together():
    x = torch.arange(10.0, dtype=torch.float64).unsqueeze(1)
    points = {"a": (x, 2.0 * x), "b": x[:5]}
    watch = HeldOutWatch(HeldOut(0.2), points, seed=0)
    kept, out = watch.fitted["a"], watch.points["a"]
    assert len(kept[0]) == 8
    assert len(out[0]) == 2
    assert torch.equal(kept[1], 2.0 * kept[0])
    assert torch.equal(torch.cat([kept[0], out[0]]).sort(0).values, x)
    assert len(watch.points["b"]) == 1
    assert torch.equal(HeldOutWatch(HeldOut(np.float32(0.2)), points, seed=0).points["a"][0], out[0])
    assert not torch.equal(HeldOutWatch(HeldOut(0.2), points, seed=2).points["a"][0], out[0])


def test_a_single_point_is_fitted_and_watched():
    points = {"equation": torch.arange(10.0).unsqueeze(1), "start": (torch.zeros(1, 1), torch.ones(1, 1))}
    watch = HeldOutWatch(HeldOut(0.2), points, seed=0)
    assert len(watch.points["equation"]) == 2
    assert watch.points["start"] is watch.fitted["start"] is points["start"]


@pytest.mark.parametrize("points", [{"a": 0.2}, "0.2", None, [0.2]])
def test_what_is_neither_a_fraction_nor_points_is_refused(points):
    with pytest.raises(TypeError, match="held_out must be one fraction for all sets, points"):
        HeldOutWatch(HeldOut(points), {"a": torch.zeros(5, 1)}, 0)


def test_arrays_of_held_out_points_are_refused_with_what_makes_tensors_of_them():
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        HeldOutWatch(HeldOut(np.zeros((3, 1))), torch.zeros(3, 1), 0)


@pytest.mark.parametrize("needs", [True, False])
def test_both_parts_stay_differentiable_leaves(needs):
    watch = HeldOutWatch(HeldOut(0.2), torch.zeros(10, 2, requires_grad=needs), seed=0)
    for part in (watch.fitted, watch.points):
        assert part.is_leaf
        assert part.requires_grad is needs
        copy.deepcopy(part)


@pytest.mark.parametrize("kept", [0.2, (torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.float64))])
def test_a_promotion_is_taken_back_in_every_dtype(kept):
    points = (torch.zeros(10, 1), torch.full((10, 1), 1.0 / 3.0, dtype=torch.float64))
    watch, parameters = HeldOutWatch(HeldOut(kept), points, seed=0), [torch.ones(2)]
    watch.measure(lambda: 1.0, parameters)
    held = watch.points
    watch.lengthen(torch.float64)
    assert {t.dtype for t in (*watch.points, *watch.parameters)} == {torch.float64}
    watch.shorten(parameters)
    assert [t.dtype for t in (*watch.points, *watch.parameters)] == [torch.float32, torch.float64, torch.float32]
    assert all(torch.equal(a, b) for a, b in zip(watch.points, held, strict=True))


def test_it_is_recorded_on_schedule_and_costs_nothing():
    net, f = noisy_fit(HeldOut(0.25, every=3))
    assert len(f.points[0]) == 18
    optimizer = LBFGS(net.parameters())
    for i in range(7):
        optimizer.step(f)
        extra = optimizer.history[-1].extra
        assert ("held_out_loss" in extra) == (i % 3 == 0)
        if i % 3 == 0:
            assert extra["held_out_loss"] == pytest.approx(value_at(f, f._watch.points), rel=1e-13)
    spent = sum(r.forwards / 3 + r.gradients for r in optimizer.history)
    assert f.meter.gradient_equivalents == pytest.approx(spent + 1.0)  # and the first evaluation


def test_patience_stops_an_overfit_at_the_best_point():
    net, f = noisy_fit(HeldOut(0.25, every=1, patience=4))
    optimizer = LevenbergMarquardt(net.parameters())
    optimizer.minimize(f, 300)
    assert optimizer.stop_reason.name == "HELD_OUT"
    assert "held-out" in optimizer.stop_reason.value
    values = [r.extra["held_out_loss"] for r in optimizer.history]
    assert value_at(f, f._watch.points) == pytest.approx(min(values), rel=1e-13)
    assert len(values) - 1 - values.index(min(values)) == 4
    # The loss and gradient the optimizer holds belong to the point it went back to.
    assert optimizer.scalars["loss"] == pytest.approx(f.loss(), rel=1e-14)
    assert optimizer.step(f) == pytest.approx(f.loss(), rel=1e-14)
    assert optimizer.stop_reason.name == "HELD_OUT"


def test_watching_only_never_stops_and_the_best_point_can_be_asked_for():
    net, f = noisy_fit(HeldOut(0.25, every=1))
    optimizer = LevenbergMarquardt(net.parameters())
    optimizer.minimize(f, 40)
    assert optimizer.stop_reason is None or optimizer.stop_reason.name != "HELD_OUT"
    values = [r.extra["held_out_loss"] for r in optimizer.history]
    assert value_at(f, f._watch.points) > min(values)
    assert f.restore_best()
    assert value_at(f, f._watch.points) == pytest.approx(min(values), rel=1e-13)
    assert not f.restore_best()


def test_a_second_set_of_points():
    x = torch.tensor([[0.05], [0.15]], dtype=torch.float64)
    net, f = noisy_fit(HeldOut((x, torch.sin(3.0 * x)), every=1))
    assert len(f.points[0]) == 24
    LBFGS(net.parameters()).step(f)
    assert f.measure(0.0)["held_out_loss"] == pytest.approx(value_at(f, (x, torch.sin(3.0 * x))), rel=1e-13)


def test_a_resumed_watch_goes_on_bit_for_bit():
    net, f = noisy_fit(HeldOut(0.25, every=2, patience=3))
    optimizer = LevenbergMarquardt(net.parameters())
    optimizer.minimize(f, 5)
    saved = copy.deepcopy((net.state_dict(), optimizer.state_dict(), f.state_dict()))
    optimizer.minimize(f, 100)
    twin, g = noisy_fit(HeldOut(0.25, every=2, patience=3), seed=9)
    twin.load_state_dict(saved[0])
    again = LevenbergMarquardt(twin.parameters())
    again.load_state_dict(saved[1])
    g.load_state_dict(saved[2])
    again.minimize(g, 100)
    assert [r.loss for r in again.history] == [r.loss for r in optimizer.history][5:]
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    assert again.stop_reason is optimizer.stop_reason


def another_equation(f, scale):
    """Tell an objective that its function is another one, as continuation does."""
    scale.fill_(2.0)
    f.redraw(f.points)


def other_weights(f, scale):
    f.reweight({"residual": 2.0})


@pytest.mark.parametrize("change", [another_equation, other_weights])
def test_the_lowest_value_is_that_of_the_present_function(change):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    scale, x = torch.ones((), dtype=torch.float64), torch.linspace(-1.0, 1.0, 40, dtype=torch.float64).unsqueeze(1)
    plan = HeldOut(0.25, every=1, patience=6)
    f = LeastSquares(lambda model, x: model(x) - scale * torch.sin(3.0 * x), net, x, held_out=plan)
    optimizer = LBFGS(net.parameters())
    optimizer.minimize(f, 40)
    chosen, versions = [p.detach().clone() for p in net.parameters()], [p._version for p in net.parameters()]
    f._watch.parameters, f._watch._since = chosen, 6
    change(f, scale)
    assert f.why_stop() == ""  # the patience begins anew
    again = LeastSquares(f._function, copy.deepcopy(net), x, held_out=plan)
    again.load_state_dict(f.state_dict())
    for p in net.parameters():
        p.data += 1.0
    worse = [p.detach().clone() for p in net.parameters()]
    f.measure(f.loss())
    assert f._watch.best == pytest.approx(again.loss_at(f._watch.points), rel=1e-14)
    assert f._watch.best < f.loss_at(f._watch.points)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), worse, strict=True))
    assert versions == [p._version for p in net.parameters()]
    again.advance()
    assert again.measure(again.loss())["held_out_loss"] == f._watch.best == again._watch.best  # what a state holds


def test_continuation_is_not_stopped_by_the_equation_before():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    scale, x = torch.ones((), dtype=torch.float64), torch.linspace(-1.0, 1.0, 40, dtype=torch.float64).unsqueeze(1)
    f = LeastSquares(
        lambda model, x: model(x) - scale * torch.sin(3.0 * x), net, x, held_out=HeldOut(0.25, every=1, patience=10)
    )
    optimizer = LBFGS(net.parameters())
    optimizer.minimize(f, 60)
    another_equation(f, scale)
    optimizer.renew()
    optimizer.minimize(f, 60)
    assert f.loss() < 1e-3
    f.restore_best()
    assert f.loss() < 1e-3


def test_what_the_first_phase_did_not_gain_does_not_end_the_convex_phase():
    net, f = noisy_fit(HeldOut(0.25, every=1, patience=3))
    wild = lambda p: torch.optim.SGD(p, lr=1e-9)  # noqa: E731 - no gain to speak of
    f.advance()
    f.measure(f.loss())
    f._watch.best = start = 0.999 * f._watch.best  # which nothing in the first phase falls below
    result = fit(net, f, epochs=40, first=wild, second=LBFGS, rule=AtEpoch(10), resort=NoResort())
    assert result.epochs > 14
    assert f._watch.best < start


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: HeldOut(1.0), "between 0 and 1"),
        (lambda: HeldOut(0.0), "between 0 and 1"),
        (lambda: HeldOut(0.5, every=0), "every"),
        (lambda: HeldOut(0.5, patience=0), "patience"),
        (lambda: noisy_fit(None)[1].restore_best(), "held_out="),
        (lambda: HeldOutWatch(HeldOut(0.5), None, 0), "needs points"),
        (lambda: HeldOutWatch(HeldOut(0.5), torch.zeros(1, 2), 0), "two points"),
        (lambda: HeldOutWatch(HeldOut(0.5), {"a": torch.zeros(1, 2)}, 0), "a set of two points"),
        (
            lambda: HeldOutWatch(HeldOut({"a": torch.zeros(1)}), {"a": torch.zeros(3), "b": torch.zeros(3)}, 0),
            "sets a, b.*got sets a",
        ),
        (lambda: HeldOutWatch(HeldOut(torch.zeros(1)), (torch.zeros(3), torch.zeros(3)), 0), "fitted ones .tuple.*got Tensor"),
        (lambda: HeldOutWatch(HeldOut(0.5), (torch.zeros(3), torch.zeros(4)), 0), "first dimension"),
    ],
)
def test_wrong_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
