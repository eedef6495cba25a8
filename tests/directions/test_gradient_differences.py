from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import vectors
from homestretch.directions.base import Point
from homestretch.directions.gradient_differences import GradientDifferences
from homestretch.objective.closure import ClosureFunction


def case(dtype=torch.float64):
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)
    x, y = torch.randn(30, 2, dtype=dtype), torch.randn(30, 1, dtype=dtype)
    parameters = [*model.parameters(), nn.Parameter(torch.zeros(2, dtype=dtype))]  # the last is not in the loss

    def closure():
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    def hessian():
        def flat(values):
            named = dict(zip(dict(model.named_parameters()), vectors.unpack(values, parameters[:-1]), strict=True))
            return (torch.func.functional_call(model, named, (x,)) - y).square().mean()

        start = vectors.pack(vectors.locals_of(parameters[:-1]))
        size = len(start) + 2
        full = torch.zeros(size, size, dtype=dtype)
        full[:-2, :-2] = torch.func.hessian(flat)(start)
        return full

    function = ClosureFunction(closure, parameters)
    function()
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    local = vectors.locals_of(parameters)
    return parameters, function, Point(local, [p.grad for p in parameters], 0.0, None, function), hessian


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_products_are_the_hessians(dtype, tolerance):
    parameters, function, point, hessian = case(dtype)
    vector = [torch.randn_like(p) for p in point.parameters]
    before = function.meter.gradients
    product = GradientDifferences(point, parameters)(vector)
    assert function.meter.gradients == before + 2
    expected = hessian() @ vectors.pack(vector)
    error = (vectors.pack(product) - expected).norm() / expected.norm()
    assert float(error) < tolerance


def test_parameters_gradients_and_versions_are_left_alone():
    parameters, _, point, _ = case()
    values = vectors.clone(point.parameters)
    versions = [p._version for p in parameters]
    gradients, held = [p.grad for p in parameters], vectors.clone(point.gradient)
    GradientDifferences(point, parameters)([torch.ones_like(p) for p in point.parameters])
    assert all(torch.equal(p, v) for p, v in zip(parameters, values, strict=True))
    assert [p._version for p in parameters] == versions
    assert all(p.grad is g for p, g in zip(parameters, gradients, strict=True))
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters, held, strict=True))


def test_left_alone_after_an_error_too():
    parameters, function, point, _ = case()
    values, gradients = vectors.clone(point.parameters), [p.grad for p in parameters]

    def fails():
        raise RuntimeError("out of memory")

    function.closure = fails
    with pytest.raises(RuntimeError, match="out of memory"):
        GradientDifferences(point, parameters)([torch.ones_like(p) for p in point.parameters])
    assert all(torch.equal(p, v) for p, v in zip(parameters, values, strict=True))
    assert all(p.grad is g for p, g in zip(parameters, gradients, strict=True))


def test_zero_costs_nothing():
    parameters, function, point, _ = case()
    before = function.meter.gradients
    product = GradientDifferences(point, parameters)([torch.zeros_like(p) for p in point.parameters])
    assert not any(bool(t.any()) for t in product)
    assert function.meter.gradients == before
