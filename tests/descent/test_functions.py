from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, LeastSquares, LevenbergMarquardt, NewtonCG, Objective, SelfScaledBroyden
from homestretch.descent.functions import Functions, Negated, NegatedWithProducts
from homestretch.objective.base import GaussNewtonProducts, HessianProducts, Residuals


class NegativeLoss(nn.Module):
    """``-mse``, whose largest value is what minimising mse reaches."""

    def forward(self, outputs, targets):
        return -mse_loss(outputs, targets)


def objective(loss):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    generator = torch.Generator().manual_seed(4)
    data = tuple(torch.randn(30, n, generator=generator, dtype=torch.float64) for n in (3, 2))
    return model, Objective(model, loss, data)


def test_a_closure_and_a_function_are_told_apart():
    model, function = objective(mse_loss)
    functions = Functions(maximize=False)
    assert functions.of(function, function.parameters) is function
    assert functions.cheap_loss
    wrapped = functions.of(lambda: function(), function.parameters)
    assert wrapped is not function
    assert not functions.cheap_loss
    assert functions.of(function, function.parameters) is function
    assert functions.cheap_loss
    with pytest.raises(TypeError, match="closure must be callable, got int"):
        functions.of(3, list(model.parameters()))


def test_negated_functions_offer_what_is_true_of_them():
    _, function = objective(mse_loss)
    turned = Functions(maximize=True).of(function, function.parameters)
    assert isinstance(turned, NegatedWithProducts)
    assert isinstance(turned, HessianProducts)
    assert not isinstance(turned, (GaussNewtonProducts, Residuals))
    vector = [torch.randn_like(p) for p in function.parameters]
    for mine, theirs in zip(turned.hessian_product(vector), function.hessian_product(vector), strict=True):
        torch.testing.assert_close(mine, -theirs)
    assert turned.loss() == -function.loss()
    assert type(Functions(maximize=True).of(lambda: function(), function.parameters)) is Negated


@pytest.mark.parametrize("method", [LBFGS, NewtonCG])
def test_climbing_is_descending_the_negative(method):
    down_model, down = objective(mse_loss)
    up_model, up = objective(NegativeLoss())
    descending, climbing = method(down_model.parameters()), method(up_model.parameters(), maximize=True)
    for _ in range(8):
        assert climbing.step(up) == pytest.approx(-descending.step(down), rel=1e-9)
    assert up.meter.hessian_products == down.meter.hessian_products
    assert up.meter.gradients == down.meter.gradients


def window(model, speed):
    """The equation of one of several windows in time, as time-marching has them."""
    x = torch.linspace(0.0, 1.0, 40, dtype=torch.float64).unsqueeze(1)
    return LeastSquares(lambda m, p: m(p) - torch.sin(speed * p), model, x)


def curve():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()


@pytest.mark.parametrize("method", [LBFGS, SelfScaledBroyden, LevenbergMarquardt])
@pytest.mark.parametrize("stopped", [True, False])
def test_another_objective_is_noticed(method, stopped):
    model = curve()
    optimizer = method(model.parameters(), target_loss=1e-3 if stopped else None)
    optimizer.minimize(window(model, 2.0), 25)
    assert (optimizer.stop_reason is not None) == stopped
    other = window(model, 7.0)
    start = other.loss()
    assert optimizer.step(other) < start
    assert optimizer.start_loss == pytest.approx(start, rel=1e-14)
    assert optimizer.history[-1].loss == pytest.approx(other.loss(), rel=1e-14)
    assert optimizer.history[-1].changed.startswith("another objective was handed over; ")
    optimizer.step(other)
    assert not optimizer.history[-1].changed


def test_another_objective_is_noticed_within_a_wrapper():
    model, first = objective(NegativeLoss())
    second = Objective(model, lambda outputs, targets: -(outputs + targets).square().mean(), first.batches.tensors)
    optimizer = LBFGS(model.parameters(), maximize=True)
    optimizer.minimize(first, 5)
    start = second.loss()
    optimizer.step(second)
    assert optimizer.start_loss == pytest.approx(start, rel=1e-14)


@pytest.mark.parametrize("method", [LBFGS, SelfScaledBroyden])
def test_the_same_objective_made_anew_changes_no_step(method):
    losses = []
    for anew in (False, True):
        model = curve()
        optimizer, f = method(model.parameters()), window(model, 2.0)
        optimizer.minimize(f, 6)
        f = window(model, 2.0) if anew else f
        losses.append([optimizer.step(f) for _ in range(4)])
        assert not any(record.changed for record in optimizer.history)
    assert losses[0] == losses[1]
