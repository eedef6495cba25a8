"""What becomes of points, and of everything else after an error, in a promotion."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, LeastSquares, Objective
from homestretch.objective.held_out import HeldOut
from homestretch.objective.redraw import Box, UniformRedraw
from homestretch.promotion import CastBatches, Promotion, promote

SEGMENT = Box([-1.0], [1.0])
THIRD = torch.full((20, 1), 1.0 / 3.0, dtype=torch.float64)  # which float32 does not hold


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))


def residuals(model, points):
    return model(points["x"]) - points["t"].to(points["x"].dtype)


def mixed(**options):
    """Points of both dtypes."""
    points = {"x": torch.linspace(-1, 1, 20)[:, None], "t": THIRD, "label": torch.arange(20)}
    return LeastSquares(residuals, network(), points, **options)


def dtypes(f):
    return [f.points[name].dtype for name in ("x", "t", "label")]


BEFORE = [torch.float32, torch.float64, torch.int64]
PROMOTED = [torch.float64, torch.float64, torch.int64]


@pytest.mark.parametrize("held_out", [None, 0.2])
def test_long_points_are_as_long_afterwards(held_out):
    f = mixed(held_out=held_out)
    known, loss = dict(f.points), f.loss()
    with promote(f):
        assert dtypes(f) == PROMOTED
    assert dtypes(f) == BEFORE
    assert all(torch.equal(f.points[name], t) for name, t in known.items())
    assert f.loss() == loss


def test_a_promotion_to_float32_shortens_nothing():
    f = LeastSquares(residuals, network().bfloat16(), {"x": torch.zeros(20, 1).bfloat16(), "t": THIRD})
    with promote(f, torch.float32):
        assert f.points["x"].dtype == torch.float32
        assert torch.equal(f.points["t"], THIRD)


@pytest.mark.parametrize("resumed", [True, False])
def test_points_drawn_in_the_meantime_go_back_too(resumed):
    f = mixed(redraw={"x": UniformRedraw(SEGMENT, 1)})
    promotion = promote(f)
    f.redraw()
    drawn = f.points["x"]
    assert drawn.dtype == torch.float64
    if resumed:  # as TwoPhase does: the state, then the promotion
        state, model = f.state_dict(), f.model
        f = mixed(redraw={"x": UniformRedraw(SEGMENT, 1)})
        f.load_state_dict(state)
        f.model.load_state_dict(model.state_dict())
        promotion = Promotion(f)
        promotion.apply(check=False)
        assert torch.equal(f.points["x"], drawn)
    promotion.undo()
    assert dtypes(f) == BEFORE
    assert torch.equal(f.points["x"], drawn.float())
    f.loss()


def test_points_given_in_the_meantime_go_back_too():
    f = mixed()
    with promote(f):
        f.redraw({name: t[:5] for name, t in f.points.items()})
    assert dtypes(f) == BEFORE
    other = LeastSquares(lambda model, p: model(p[0] if isinstance(p, tuple) else p), network(), torch.zeros(20, 1))
    with promote(other):
        other.redraw((torch.zeros(5, 1, dtype=torch.float64),))  # of another structure: by the parameters
    assert other.points[0].dtype == torch.float32
    assert other.loss() >= 0.0


def test_points_given_before_count_as_they_are():
    f = mixed()
    f.redraw({**f.points, "t": THIRD.float()})
    with promote(f):
        pass
    assert dtypes(f) == [torch.float32, torch.float32, torch.int64]


def test_a_promotion_for_good_is_not_undone_by_one_for_a_while():
    f = mixed()
    f.promote()
    with promote(f):
        pass
    assert dtypes(f) == PROMOTED
    assert f.loss() > 0.0


@pytest.mark.parametrize("held_out", [None, 0.2, HeldOut(torch.zeros(3, 1, requires_grad=True))])
def test_differentiable_points_stay_leaves(held_out):
    def slope(model, x):
        (found,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return found - 1.0

    f = LeastSquares(slope, network(), torch.linspace(-1, 1, 20)[:, None].requires_grad_(), held_out=held_out)
    optimizer = LBFGS(f.parameters)
    with promote(f):
        optimizer.step(f)
        assert f.points.is_leaf
        assert f.points.requires_grad
        copy.deepcopy(f.points)
    optimizer.step(f)
    assert f.points.is_leaf
    copy.deepcopy(f.points)


@pytest.mark.parametrize("error", [TypeError, ValueError, AssertionError, KeyboardInterrupt])
@pytest.mark.parametrize("points", [True, False])
def test_any_error_undoes_all_and_is_told_as_it_is(error, points):
    model = network()

    def short(outputs):
        if outputs.dtype != torch.float32:
            raise error("float32 only")
        return outputs

    x = torch.linspace(-1, 1, 20)[:, None]
    if points:
        f = LeastSquares(lambda m, p: short(m(p)), model, x)
    else:
        f = Objective(model, lambda outputs, targets: mse_loss(short(outputs), targets), (x, x))
    before = f.loss()
    with pytest.raises(error, match="float32 only"):
        promote(f)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert f.points.dtype == torch.float32 if points else not isinstance(f.batches, CastBatches)
    assert f.loss() == before
