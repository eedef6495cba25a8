from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, NewtonCG, Objective
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
