from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from homestretch import vectors
from homestretch.objective.products.jacobian import by_columns, by_points, by_rows
from tests.objective.products.conftest import make_case


class Sample(NamedTuple):
    where: Tensor
    value: Tensor


@pytest.mark.parametrize("piece", [1, 4, 100])
@pytest.mark.parametrize("name", ["dense", "convolutional", "attention", "normalised", "tied"])
def test_rows_and_columns_are_exact(name, piece):
    case = make_case(name, "squared")
    exact = torch.autograd.functional.jacobian(lambda flat: case.at(flat).reshape(-1), case.flat)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        residuals = lambda: case.model(case.inputs).reshape(-1)  # noqa: E731
        pieces = list(by_rows(residuals, case.objective.parameters, piece))
        values, columns = by_columns(residuals, case.objective.parameters, piece)
    rho, rows = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    torch.testing.assert_close(rows, exact, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(columns, exact, rtol=1e-8, atol=1e-11)
    assert torch.equal(rho, values)
    assert max(len(part) for part, _ in pieces) <= piece


@pytest.mark.parametrize("rows", [3, 100])
@pytest.mark.parametrize("width", [1, 2])
def test_points_are_exact(rows, width):
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, width)).double()
    parameters = list(model.parameters())
    names = [name for name, _ in model.named_parameters()]
    x = torch.randn(7, 2, dtype=torch.float64)

    def residual(values, point):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (point,)).reshape(-1)

    found = torch.cat(list(by_points(residual, parameters, x, rows, width)))
    flat = vectors.pack(vectors.locals_of(parameters))
    exact = torch.autograd.functional.jacobian(lambda p: residual(vectors.unpack(p, parameters), x), flat)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [2, 100])
def test_points_by_name_are_exact(rows):
    model = nn.Linear(1, 1).double()
    names = [name for name, _ in model.named_parameters()]
    at = Sample(torch.randn(5, 1, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64))

    def residual(values, point):
        u = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (point.where,))
        return (point.value * u).reshape(-1)

    found = torch.cat(list(by_points(residual, list(model.parameters()), at, rows, 1)))
    torch.testing.assert_close(found, torch.cat([at.value * at.where, at.value], 1), rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("piece", [1, 100])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU, nn.GELU])
def test_columns_of_derivatives_of_a_network_are_exact(activation, piece):
    """Its last bias is in the graph of its derivative, which does not depend on it."""
    model = nn.Sequential(nn.Linear(2, 4), activation(), nn.Linear(4, 1)).double()
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)

    def residuals():
        (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (gradient[:, 0] + 0.5 * gradient[:, 1]).reshape(-1)

    parameters = list(model.parameters())
    exact = torch.cat([rows for _, rows in by_rows(residuals, parameters, 100)])
    torch.testing.assert_close(by_columns(residuals, parameters, piece)[1], exact, rtol=1e-10, atol=1e-13)
