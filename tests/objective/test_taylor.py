"""Taylor propagation against automatic differentiation, for values, input derivatives and everything downstream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import prune

from homestretch.objective.activations import Activation, Sin
from homestretch.objective.taylor import laplacian, taylor

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}
ACTIVATIONS = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "softplus-partly-linear": lambda: nn.Softplus(beta=3.0, threshold=0.5),
    "sin": Sin,
}


def make_net(activation: str = "tanh", hidden: tuple[int, ...] = (5, 4), outputs: int = 2, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(3)
    widths = (3, *hidden)
    layers: list[nn.Module] = []
    for before, after in zip(widths, hidden, strict=False):
        layers += [nn.Linear(before, after, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs, bias=bias)).double()


def make_points(count: int = 6) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def reference(net: nn.Module, inputs: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """First and second directional derivatives, (D, N, m) each, by autograd through autograd."""
    x = inputs if inputs.requires_grad else inputs.clone().requires_grad_()

    def slope(outputs: Tensor, direction: Tensor) -> Tensor:
        columns = [torch.autograd.grad(column.sum(), x, create_graph=True)[0] @ direction for column in outputs.T]
        return torch.stack(columns, dim=1)

    first = [slope(net(x), d) for d in directions]
    second = [slope(f, d) for f, d in zip(first, directions, strict=True)]
    return torch.stack(first), torch.stack(second)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(5,), (5, 4, 6)], ids=["one-hidden", "three-hidden"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_derivatives_and_their_gradients_equal_autograd(activation: str, hidden: tuple[int, ...], bias: bool) -> None:
    net, x = make_net(activation, hidden, bias=bias), make_points()
    directions = torch.tensor([[1.0, 0.5, -2.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    first, second = reference(net, x, directions)
    ours = taylor(net, x, directions)
    torch.testing.assert_close(ours.values, net(x), **TOLERANCE)
    torch.testing.assert_close(ours.first, first, **TOLERANCE)
    torch.testing.assert_close(ours.second, second, **TOLERANCE)

    def loss(u: Tensor, du: Tensor, ddu: Tensor) -> Tensor:
        return (u.sin() + u * du[0] * du[1] + ddu[0] ** 2 - 0.3 * ddu[1]).square().sum()

    parameters = list(net.parameters())
    theirs = torch.autograd.grad(loss(net(x), first, second), parameters, materialize_grads=True)
    for got, want in zip(torch.autograd.grad(loss(*ours), parameters), theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_laplacian_is_the_sum_and_so_are_its_gradients(activation: str) -> None:
    net, x = make_net(activation), make_points().requires_grad_()
    values, collapsed = laplacian(net, x)
    parts = taylor(net, x)
    torch.testing.assert_close(values, parts.values, **TOLERANCE)
    torch.testing.assert_close(collapsed, parts.second.sum(0), **TOLERANCE)
    wanted = [x, *net.parameters()]
    ours = torch.autograd.grad((collapsed + values).square().sum(), wanted)
    theirs = torch.autograd.grad((parts.second.sum(0) + parts.values).square().sum(), wanted)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("hidden", [(5,), (5, 4)])
@pytest.mark.parametrize("order", [(2, 1, 2), (1, 1, 2), (1, 1, 1), 1])
def test_mixed_orders_keep_the_callers_order_of_directions(hidden: tuple[int, ...], order: int | tuple[int, ...]) -> None:
    net, x = make_net(hidden=hidden), make_points()
    parts, whole = taylor(net, x, order=order), taylor(net, x)
    orders = (order,) * 3 if isinstance(order, int) else order
    torch.testing.assert_close(parts.first, whole.first, **TOLERANCE)
    curved = [i for i, value in enumerate(orders) if value == 2]
    torch.testing.assert_close(parts.second, whole.second[curved], **TOLERANCE)
    scale = torch.arange(1.0, 4.0, dtype=torch.float64).reshape(3, 1, 1)
    ours = torch.autograd.grad((parts.first * scale).square().sum() + parts.second.sum(), next(iter(net.parameters())))
    theirs = torch.autograd.grad((whole.first * scale).square().sum() + whole.second[curved].sum(), net[0].weight)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hessian_products_through_the_hand_written_backward(activation: str) -> None:
    net, x = make_net(activation, (3, 3), outputs=1), make_points(4)
    parameters = list(net.parameters())
    vector = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(5)) for p in parameters]

    def product(second: Tensor) -> list[Tensor]:
        gradient = torch.autograd.grad((second.square().sum() + net(x).sum()), parameters, create_graph=True)
        along = sum((g * v).sum() for g, v in zip(gradient, vector, strict=True))
        return list(torch.autograd.grad(along, parameters, materialize_grads=True))

    eye = torch.eye(3, dtype=torch.float64)
    ours, theirs = product(taylor(net, x).second.sum(0)), product(reference(net, x, eye)[1].sum(0))
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    collapsed = product(laplacian(net, x)[1])
    for got, want in zip(collapsed, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("hidden", [(5,), (4, 3)])
def test_a_backward_pass_over_dual_numbers_gives_the_hessian_product(hidden: tuple[int, ...]) -> None:
    net, x = make_net(hidden=hidden), make_points(4)
    parameters = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    vector = {name: torch.randn_like(p) for name, p in parameters.items()}

    def gradient(values: dict[str, Tensor], **options: bool) -> tuple[Tensor, ...]:
        holder = nn.Module()
        holder.net = net
        holder.forward = lambda: torch.stack(
            [t.square().sum() for t in (*taylor(net, x, order=(2, 1, 1)), laplacian(net, x)[1])]
        )
        parts = torch.func.functional_call(holder, {f"net.{name}": p for name, p in values.items()}, ())
        return torch.autograd.grad(parts.sum(), list(parameters.values()), allow_unused=True, materialize_grads=True, **options)

    along = torch.stack([(g * v).sum() for g, v in zip(gradient(parameters, create_graph=True), vector.values(), strict=True)])
    wanted = torch.autograd.grad(along.sum(), list(parameters.values()), allow_unused=True, materialize_grads=True)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p, vector[name]) for name, p in parameters.items()}
        tangents = [forward_ad.unpack_dual(g).tangent for g in gradient(duals)]
    for want, got in zip(wanted, tangents, strict=True):
        torch.testing.assert_close(torch.zeros_like(want) if got is None else got, want, **TOLERANCE)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, on its first forward-mode call
@pytest.mark.parametrize("hidden", [(5,), (4, 3)])
def test_functorch_transforms_agree_with_reverse_mode(hidden: tuple[int, ...]) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net(hidden=hidden)

        def forward(self, inputs: Tensor) -> Tensor:
            parts = taylor(self.net, inputs, order=(2, 1, 1))
            return parts.first.sum(0) + parts.values * parts.second[0] + laplacian(self.net, inputs)[1]

    module, x = Residual(), make_points(4)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def residual(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(module, values, (x,))

    reverse, forward = torch.func.jacrev(residual)(parameters), torch.func.jacfwd(residual)(parameters)
    weight = module.net[0].weight
    (single,) = torch.autograd.grad(module(x)[1, 0], weight)
    torch.testing.assert_close(reverse["net.0.weight"][1, 0], single, **TOLERANCE)
    for name in parameters:
        torch.testing.assert_close(forward[name], reverse[name], **TOLERANCE)


def test_modules_nested_linear_only_and_of_the_users_own() -> None:
    x = make_points()
    inner = make_net()
    nested = nn.Sequential(nn.Sequential(*inner[:2]), nn.Identity(), nn.Sequential(*inner[2:]))
    torch.testing.assert_close(taylor(nested, x), taylor(inner, x), rtol=0.0, atol=0.0)

    linear = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    parts = taylor(linear, x)
    torch.testing.assert_close(parts.values, linear(x), **TOLERANCE)
    matrix = linear[1].weight @ linear[0].weight
    torch.testing.assert_close(parts.first, matrix.T.unsqueeze(1).expand(-1, len(x), -1), **TOLERANCE)
    assert parts.second.abs().max() == 0.0
    chained = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 1)).double()
    torch.testing.assert_close(taylor(chained, x).values, chained(x), **TOLERANCE)

    class Square(nn.Module):
        activation = Activation(torch.square, lambda z, v, order: (2 * z, 2 + 0 * z, 0 * z)[:order])

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.square()

    own = nn.Sequential(nn.Linear(3, 4), Square(), nn.Linear(4, 1)).double()
    torch.testing.assert_close(laplacian(own, x)[1], taylor(own, x).second.sum(0), **TOLERANCE)
    torch.testing.assert_close(taylor(own, x).second, reference(own, x, torch.eye(3).double())[1], **TOLERANCE)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.LayerNorm(3), nn.GELU(approximate="tanh")])
def test_unknown_modules_are_named_with_the_remedy(module: nn.Module) -> None:
    with pytest.raises(TypeError, match=rf"{type(module).__name__}.*attribute `activation`.*derivatives.forward.*create_graph"):
        taylor(nn.Sequential(nn.Linear(3, 3), module).double(), make_points())


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * super().forward(input)


class Skip(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


class Doubled(nn.Identity):
    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * input


@pytest.mark.parametrize("module", [Scaled(3, 1), Skip(nn.Linear(3, 3), nn.Tanh()), Doubled()], ids=lambda m: type(m).__name__)
def test_a_subclass_with_its_own_forward_is_refused(module: nn.Module) -> None:
    with pytest.raises(TypeError, match=type(module).__name__):
        taylor(nn.Sequential(module).double(), make_points())


def test_a_module_that_is_used_twice_is_passed_twice() -> None:
    square, tanh = nn.Linear(3, 3), nn.Tanh()
    net, x = nn.Sequential(square, tanh, square, tanh).double(), make_points()
    parts, (first, second) = taylor(net, x), reference(net, x, torch.eye(3).double())
    torch.testing.assert_close(parts.values, net(x), **TOLERANCE)
    torch.testing.assert_close(parts.first, first, **TOLERANCE)
    torch.testing.assert_close(parts.second, second, **TOLERANCE)


HOOKS = {
    "weight_norm": lambda net: nn.utils.weight_norm(net[0]),
    "spectral_norm": lambda net: nn.utils.spectral_norm(net[0]),
    "prune": lambda net: prune.random_unstructured(net[2], "weight", amount=0.5),
    "hook of an activation": lambda net: net[1].register_forward_hook(lambda module, given, output: 10.0 * output),
    "hook of the chain": lambda net: net.register_forward_pre_hook(lambda module, given: (2.0 * given[0],)),
    "hook of the identity": lambda net: net[3].register_forward_hook(lambda module, given, output: -output),
}


def hooked_net(hook: str) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Identity()).double()
    HOOKS[hook](net)
    return net


@pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated")
@pytest.mark.parametrize("way", [taylor, laplacian])
@pytest.mark.parametrize("hook", HOOKS)
def test_forward_hooks_are_refused_with_the_remedy(hook: str, way: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"forward hooks.*parametrizations.*prune\.remove.*derivatives\.forward"):
        way(hooked_net(hook), make_points())


def test_the_remedies_for_hooks_work() -> None:
    x = make_points()
    net = hooked_net("prune")
    prune.remove(net[2], "weight")
    nn.utils.parametrizations.weight_norm(net[0])
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(3.0)
    parts = taylor(net, x)
    torch.testing.assert_close(parts.values, net(x), **TOLERANCE)
    torch.testing.assert_close(parts.second, reference(net, x, torch.eye(3).double())[1], **TOLERANCE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": torch.zeros(3)}, "inputs must be"),
        ({"inputs": torch.zeros(2, 3, dtype=torch.int64)}, "inputs must be"),
        ({"inputs": torch.zeros(2, 3), "directions": torch.ones(1, 2)}, r"directions must have shape \(D, 3\)"),
        ({"inputs": torch.zeros(2, 3), "order": 3}, "order must be 1 or 2"),
        ({"inputs": torch.zeros(2, 3), "order": (2, 1)}, "or 3 of these"),
    ],
)
def test_wrong_arguments_are_refused_at_the_door(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        taylor(make_net(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [1, 2])
def test_forward_mode_within_forward_mode_is_not_lost(order: int) -> None:
    net, x = make_net(), make_points()

    def loss(inputs: Tensor) -> Tensor:
        u = taylor(net, inputs, order=order)
        return (u.first**2).sum() + (u.second**3).sum()

    def along(inputs: Tensor) -> Tensor:
        return torch.func.jvp(loss, (inputs,), (x,))[1]

    got = torch.func.jvp(along, (x,), (x,))[1]
    (want,) = torch.autograd.functional.hvp(loss, x, x)[1:]
    torch.testing.assert_close(got, (want * x).sum(), rtol=1e-11, atol=1e-11)
