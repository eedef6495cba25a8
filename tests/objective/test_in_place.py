"""Results written in place against the plain formulas, which `test_taylor` compares with automatic differentiation."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from homestretch.objective import in_place
from homestretch.objective.activations import Sin
from homestretch.objective.taylor import laplacian, taylor

ACTIVATIONS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "silu": nn.SiLU, "gelu": nn.GELU, "softplus": nn.Softplus, "sin": Sin}
ORDERS = [2, 1, (2, 1), (1, 2)]


def make_net(activation: str, dtype: torch.dtype, hidden: int, bias: bool) -> nn.Sequential:
    torch.manual_seed(7)
    widths = (2, *([6] * hidden), 1)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def pulled(way: str, order: object, net: nn.Module, inputs: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of a function of it in the inputs and the parameters."""
    inputs = inputs.clone().requires_grad_()
    found = taylor(net, inputs, order=order) if way == "taylor" else laplacian(net, inputs)  # type: ignore[arg-type]
    total = torch.stack([(1.5 * part.square() + part.sin()).sum() for part in found]).sum()
    wanted = [inputs, *net.parameters()]
    return [*found, *torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(("way", "order"), [*(("taylor", order) for order in ORDERS), ("laplacian", 2)])
def test_values_and_gradients_are_those_of_the_plain_formulas(
    activation: str, hidden: int, bias: bool, way: str, order: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = make_net(activation, torch.float64, hidden, bias)
    inputs = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    used: list[bool] = []
    possible = in_place.possible
    monkeypatch.setattr(in_place, "possible", lambda *tensors: used.append(possible(*tensors)) or used[-1])
    got = pulled(way, order, net, inputs)
    assert len(used) == 2 * hidden  # in the forward and in the backward pass of each activation
    assert all(used)
    monkeypatch.setattr(in_place, "possible", lambda *tensors: False)
    for ours, plain in zip(got, pulled(way, order, net, inputs), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-13)


def test_saved_tensors_are_left_as_they_are() -> None:
    net, inputs = make_net("tanh", torch.float32, 2, bias=True), torch.linspace(-1.0, 1.0, 14).reshape(7, 2)
    parts = taylor(net, inputs)
    total = torch.stack([part.square().sum() for part in parts]).sum()
    once = torch.autograd.grad(total, list(net.parameters()), retain_graph=True)
    kept = [part.clone() for part in parts]
    twice = torch.autograd.grad(total, list(net.parameters()))
    torch.testing.assert_close(once, twice, rtol=0.0, atol=0.0)
    torch.testing.assert_close(list(parts), kept, rtol=0.0, atol=0.0)


def test_it_steps_aside_where_results_in_place_are_unknown() -> None:
    plain = torch.ones(2, requires_grad=True)
    assert in_place.possible(plain, None)
    seen: list[bool] = []

    def look(x: Tensor) -> Tensor:
        seen.append(in_place.possible(x))
        return x.sum()

    torch.func.grad(look)(torch.ones(2))
    torch.func.vmap(look)(torch.ones(3, 2))
    doubled = plain * 2.0
    doubled.register_hook(lambda gradient: seen.append(in_place.possible(gradient)))
    torch.autograd.grad(doubled, plain, torch.eye(2), is_grads_batched=True)
    assert seen == [False, False, False]
