"""Derivatives by Taylor propagation, forward mode and plain autograd, through the whole of LeastSquares, to 1e-8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from homestretch import LeastSquares, vectors
from homestretch.errors import UnsupportedError
from homestretch.objective import derivatives
from homestretch.objective.derivatives import Derivatives, fastest, forward
from homestretch.objective.taylor import Taylor, taylor

TOLERANCE = {"rtol": 1e-8, "atol": 1e-8}


def network() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def points() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    make = lambda n: torch.rand(n, 2, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"equation": make(60), "start": make(9), "ends": make(7)}


def reverse(net, inputs: Tensor, directions=None, order=(2, 1)) -> Taylor:
    """Autograd through autograd, along the axes."""
    x = inputs.detach().requires_grad_()
    u = net(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    bends = [
        torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i : i + 1] for i, n in enumerate(order) if n == 2
    ]
    return Taylor(u, slope.T.unsqueeze(2), torch.stack(bends))


WAYS = {"taylor": taylor, "forward": forward, "reverse": reverse}


def burgers(way):
    def residuals(model, at):
        u, (u_x, u_t), (u_xx,) = way(model, at["equation"], order=(2, 1))
        return {
            "equation": u_t + u * u_x - 0.05 * u_xx,
            "start": model(at["start"]) + torch.sin(3.0 * at["start"][:, :1]),
            "ends": model(at["ends"]).square().squeeze(1),
        }

    return residuals


WEIGHTS = {"start": 5.0, "ends": 0.3}


def oracle(net: nn.Sequential) -> tuple[Tensor, Tensor]:
    """rho and its Jacobian, by autograd row by row through the reverse derivatives."""
    terms = burgers(reverse)(net, points())
    scaled = [r.reshape(-1) * (WEIGHTS.get(name, 1.0) / r.numel()) ** 0.5 for name, r in terms.items()]
    rho = torch.cat(scaled)
    parameters = list(net.parameters())
    rows = [
        vectors.pack(torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True, materialize_grads=True))
        for entry in rho
    ]
    return rho.detach(), torch.stack(rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("as_function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("memory", [256e6, 3000.0], ids=["whole", "chunks"])
def test_everything_equals_the_oracle(way: str, as_function: bool, memory: float) -> None:
    net, residuals = network(), burgers(WAYS[way])
    rho, jacobian = oracle(net)
    if as_function:
        f = LeastSquares(lambda: residuals(net, points()), net.parameters(), weights=WEIGHTS, jacobian_memory=memory)
    else:
        f = LeastSquares(residuals, net, points(), weights=WEIGHTS, jacobian_memory=memory)
    assert float(f()) == pytest.approx(float(rho @ rho), rel=1e-10)
    assert f.loss() == pytest.approx(float(rho @ rho), rel=1e-10)
    torch.testing.assert_close(vectors.pack([p.grad for p in f.parameters]), 2.0 * jacobian.T @ rho, **TOLERANCE)
    torch.testing.assert_close(f.residuals(), rho, **TOLERANCE)
    torch.testing.assert_close(f.jacobian(), jacobian, **TOLERANCE)
    expected = "per point" if not as_function and way != "reverse" else "rows" if memory < 1e4 else "columns"
    assert f.jacobian_mode == expected, f.jacobian_reason
    if memory < 1e4:
        assert max(len(rows) for _, rows in f.jacobian_chunks()) * jacobian.shape[1] * 8 <= memory
    matrix, right = f.normal_equations()
    torch.testing.assert_close(matrix, jacobian.T @ jacobian, **TOLERANCE)
    torch.testing.assert_close(right, jacobian.T @ rho, **TOLERANCE)
    v = [torch.randn_like(p) for p in vectors.locals_of(f.parameters)]
    product = vectors.pack(f.gauss_newton_product(v)).detach()
    torch.testing.assert_close(product, 2.0 * jacobian.T @ (jacobian @ vectors.pack(v)), **TOLERANCE)
    total = sum((burgers(reverse)(net, points())[n].square().mean() * WEIGHTS.get(n, 1.0) for n in points()), torch.tensor(0.0))
    slopes = torch.autograd.grad(total, f.parameters, create_graph=True)
    along = torch.autograd.grad(sum((s * t).sum() for s, t in zip(slopes, v, strict=True)), f.parameters)
    torch.testing.assert_close(vectors.pack(f.hessian_product(v)).detach(), vectors.pack(along), **TOLERANCE)


@pytest.mark.parametrize("order", [2, 1, (2, 1), (1, 2)])
def test_forward_mode_equals_taylor(order) -> None:
    net, x = network(), points()["equation"]
    directions = torch.tensor([[1.0, 0.5], [0.0, -2.0]], dtype=torch.float64)
    for ours, theirs in zip(forward(net, x, directions, order), taylor(net, x, directions, order), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


class Skip(nn.Module):
    """A residual connection, which Taylor propagation does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + x[:, :1].sin()


def test_the_choice_is_measured_once_and_said(monkeypatch) -> None:
    net, x = network(), points()["equation"]
    seconds = {taylor: 1.0, forward: 2.0}
    monkeypatch.setattr(derivatives, "_timed", lambda way, *arguments: seconds[way])
    chosen = fastest(net, x, order=(2, 1))
    assert chosen.mode == "taylor"
    assert chosen.seconds == {"taylor": 1.0, "forward": 2.0}
    assert chosen.reason == "measured: taylor 1e+03 ms, forward 2e+03 ms"
    seconds[forward] = 0.5
    assert fastest(net, x, order=(2, 1)).mode == "forward"
    monkeypatch.undo()
    assert all(value > 0.0 for value in fastest(net, x, order=(2, 1)).seconds.values())
    assert all(p.grad is None for p in net.parameters())
    for mode in ("taylor", "forward"):
        way = Derivatives(mode, {}, "", None, (2, 1))
        for ours, theirs in zip(way(net, x), taylor(net, x, order=(2, 1)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_what_taylor_does_not_know_goes_forward() -> None:
    net, x = Skip().double(), points()["equation"]
    chosen = fastest(net, x, order=(2, 1))
    assert chosen.mode == "forward"
    assert "taylor cannot pass through Skip" in chosen.reason
    for ours, theirs in zip(chosen(net, x), reverse(net, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_network_with_hooks_goes_forward() -> None:
    net, x = network(), points()["equation"]
    net[0].register_forward_hook(lambda module, given, output: 3.0 * output)
    chosen = fastest(net, x, order=(2, 1))
    assert chosen.mode == "forward"
    assert "forward hooks" in chosen.reason
    for ours, theirs in zip(chosen(net, x), reverse(net, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


class Opaque(torch.autograd.Function):
    """An operation with no forward-mode derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 2.0

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient * 2.0


class Closed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Opaque.apply(x)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.Mish()], ids=["silu", "mish"])
def test_a_loss_by_forward_passes_where_torch_needs_a_graph_for_forward_mode(activation) -> None:
    """Without gradients torch takes these activations' own backward kernels, which a second forward mode cannot pass."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(1, 5), activation, nn.Linear(5, 1)).double()
    x = torch.linspace(0.0, 1.0, 20, dtype=torch.float64).unsqueeze(1)
    objective = LeastSquares(lambda net, x: forward(net, x).second[0] - x, net, x)
    assert objective.loss() == pytest.approx(float(objective()), rel=1e-12)


def test_refuses_what_no_way_can_do() -> None:
    with pytest.raises(UnsupportedError, match=r"neither.*torch\.autograd\.grad"):
        fastest(Closed(), points()["equation"])
    with pytest.raises(ValueError, match="directions"):
        fastest(network(), points()["equation"], torch.ones(2, 3))
    with pytest.raises(ValueError, match="order"):
        fastest(network(), points()["equation"], order=3)
