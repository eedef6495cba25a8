from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import vectors
from homestretch.objective.products.swapping import difference_step, moved, smooth_kernels, swapped, tangents
from tests.objective.products.conftest import Tied


def test_swaps_every_place_of_a_tied_parameter_and_restores_them_after_an_error():
    model = Tied().double()
    parameters = [p for p in model.parameters() if p.requires_grad]
    x = torch.randn(2, 5, dtype=torch.float64)
    before = model(x)

    def fail_inside():
        with swapped(model, parameters, [torch.zeros_like(p) for p in parameters]):
            assert not model(x).any()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert model.one.weight is model.two.weight
    assert {id(model.one.weight), id(model.last)} == {id(p) for p in parameters}
    assert torch.equal(model(x), before)


def test_moves_and_comes_back_bit_for_bit_unnoticed():
    p = torch.randn(7, requires_grad=True)
    before, version = p.detach().clone(), p._version
    with moved([p], [torch.ones(7)], 0.1):
        torch.testing.assert_close(p.detach(), before + 0.1)
    assert torch.equal(p.detach(), before)
    assert p._version == version


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_formulas_are_those_of_torch(reduction):
    z, t = torch.randn(4, 3), torch.randn(4, 3)
    expected = nn.functional.mse_loss(z, t, reduction=reduction), nn.functional.silu(z)
    with smooth_kernels():
        found = nn.functional.mse_loss(z, t, reduction=reduction), nn.functional.silu(z)
    torch.testing.assert_close(found, expected)


def test_weighted_squared_error_is_left_to_torch():
    z, t, w = torch.randn(3, 4, 3).unbind(0)
    expected = nn.functional.mse_loss(z, t, weight=w)
    with smooth_kernels():
        torch.testing.assert_close(nn.functional.mse_loss(z, t, weight=w), expected)


def test_attention_uses_its_plain_kernel_inside_only():
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
    with smooth_kernels():
        assert not torch.backends.cuda.flash_sdp_enabled()
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()) == before


def test_tangents_ride_on_a_models_parameters():
    model = nn.Linear(2, 1).double()
    x = torch.randn(3, 2, dtype=torch.float64)
    parameters = list(model.parameters())
    v = [torch.randn_like(p) for p in vectors.locals_of(parameters)]
    with tangents(model, parameters, v):
        found = torch.autograd.forward_ad.unpack_dual(model(x)).tangent
    torch.testing.assert_close(found.detach(), x @ v[0].T + v[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_difference_step_is_a_cube_root_of_rounding_long(dtype):
    p, v = torch.zeros(4, dtype=dtype), torch.full((4,), 5.0, dtype=dtype)
    assert difference_step([p], [v]) * 10.0 == pytest.approx(torch.finfo(dtype).eps ** (1 / 3))
    assert difference_step([p], [0.0 * v]) == 1.0


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 1.0, 1e3])
def test_differences_fit_small_and_large_parameters(size):
    """Rosenbrock's function in other units: the Hessian by differences against the exact one."""

    def rosenbrock(x):
        a, b = x / size
        return 100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2

    x = torch.tensor([-1.2, 1.0], dtype=torch.float64) * size
    v = torch.tensor([0.3, 0.7], dtype=torch.float64)
    gradient = torch.func.grad(rosenbrock)
    h = difference_step([x], [v])
    found = (gradient(x + h * v) - gradient(x - h * v)) / (2.0 * h)
    exact = torch.func.hessian(rosenbrock)(x) @ v
    assert float((found - exact).norm() / exact.norm()) < 1e-3
