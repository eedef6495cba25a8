from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import Objective, vectors
from homestretch.errors import UnsupportedError
from homestretch.objective.products import HessianProduct
from tests.objective.products.conftest import make_case


class Crooked(torch.autograd.Function):
    """x^3 with a backward pass whose own derivative is silently wrong: it hides x from autograd."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return 3.0 * ctx.x**2 * gradient


def exact(case):
    return torch.autograd.functional.hessian(lambda flat: case.loss(case.at(flat), case.targets), case.flat)


def test_product_is_exact(case):
    v = case.vector()
    product = case.objective.hessian_product(v)
    torch.testing.assert_close(vectors.pack(product), exact(case) @ vectors.pack(v), rtol=1e-8, atol=1e-10)
    assert case.objective.hessian_mode == "forward-over-reverse", case.objective._hessian.choice.reasons
    # The second product goes the chosen way at once.
    torch.testing.assert_close(case.objective.hessian_product(v), product, rtol=1e-12, atol=1e-14)


def test_nothing_is_left_behind():
    case = make_case("attention", "squared")
    case.objective()
    gradients = [p.grad for p in case.objective.parameters]
    versions = [p._version for p in case.model.parameters()]
    kernels = torch.backends.cuda.flash_sdp_enabled()
    held = dict(case.model.named_parameters())
    case.objective.hessian_product(case.vector())
    assert all(p.grad is g for p, g in zip(case.objective.parameters, gradients, strict=True))
    assert [p._version for p in case.model.parameters()] == versions
    assert torch.backends.cuda.flash_sdp_enabled() == kernels
    assert all(p is held[name] for name, p in case.model.named_parameters())


def test_batch_norm_over_micro_batches_without_moving_its_statistics():
    case = make_case("normalised", "cross-entropy", mode="train", micro_batch=4)
    before = case.model[1].running_mean.clone()
    v = case.vector()
    product = vectors.pack(case.objective.hessian_product(v))
    assert torch.equal(case.model[1].running_mean, before)

    def loss(flat):
        parts = zip(case.outputs_by_batch(flat, 4), case.targets.split(4), strict=True)
        return sum(case.loss(z, t) * len(t) / 7 for z, t in parts)

    expected = torch.autograd.functional.hessian(loss, case.flat) @ vectors.pack(v)
    torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dim", [0, 1])
def test_weight_normalisation_whose_kernel_has_a_wrong_second_derivative(dim):
    generator = torch.Generator().manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3).double(), dim=dim)
    x, t = (torch.randn(9, n, dtype=torch.float64, generator=generator) for n in (4, 3))
    objective = Objective(layer, nn.functional.mse_loss, (x, t))
    bias, g, v = vectors.clone(objective.parameters)

    def loss(bias, g, v):
        return (x @ (g * v / v.square().sum(1 - dim, keepdim=True).sqrt()).T + bias - t).square().mean()

    vector = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in (bias, g, v)]
    expected = torch.autograd.functional.hvp(loss, (bias, g, v), tuple(vector))[1]
    objective.hessian_product([torch.ones_like(bias), torch.zeros_like(g), torch.zeros_like(v)])  # where the kernel is right
    torch.testing.assert_close(objective.hessian_product(vector), list(expected))


def test_a_silently_wrong_derivative_is_noticed():
    layer = nn.Linear(3, 2).double()
    x, t = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    objective = Objective(layer, lambda z, y: (Crooked.apply(z) - y).square().mean(), (x, t))
    v = [torch.randn_like(p) for p in vectors.locals_of(objective.parameters)]
    before = vectors.clone(objective.parameters)
    product = vectors.pack(objective.hessian_product(v))
    assert objective.hessian_mode == "differences"
    assert all(torch.equal(a, b) for a, b in zip(before, vectors.locals_of(objective.parameters), strict=True))

    def loss(flat):
        weight, bias = vectors.unpack(flat, v)
        return (nn.functional.linear(x, weight, bias) ** 3 - t).square().mean()

    expected = torch.autograd.functional.hessian(loss, vectors.pack(vectors.locals_of(objective.parameters))) @ vectors.pack(v)
    torch.testing.assert_close(product, expected, rtol=1e-6, atol=1e-8)


def test_tensors_without_a_module():
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    product = HessianProduct([x])
    rosenbrock = lambda p: 100.0 * (p[1] - p[0] ** 2) ** 2 + (1.0 - p[0]) ** 2  # noqa: E731
    v = torch.tensor([1.0, -2.0], dtype=torch.float64)
    (found,) = product(lambda: rosenbrock(x), [v])
    torch.testing.assert_close(found, torch.autograd.functional.hessian(rosenbrock, x.detach()) @ v)
    assert product.choice.mode == "reverse-over-reverse"


def test_linear_losses_and_unused_parameters_have_zero_curvature():
    x = torch.ones(2, requires_grad=True)
    unused = torch.ones(3, requires_grad=True)
    found = HessianProduct([x, unused])(lambda: x.sum(), [torch.ones(2), torch.ones(3)])
    assert [float(t.abs().sum()) for t in found] == [0.0, 0.0]


def test_a_zero_vector_does_not_choose_the_way():
    case = make_case("dense", "squared")
    product = case.objective.hessian_product(vectors.zeros_like(case.vector()))
    assert vectors.norm(product) == 0.0
    assert case.objective.hessian_mode == ""


@pytest.mark.parametrize("name", ["dense", "attention", "convolutional"])
def test_float32(name):
    short, exact64 = make_case(name, "softmax-squared", torch.float32), make_case(name, "softmax-squared")
    exact64.model.load_state_dict(short.model.state_dict())
    exact64.inputs.copy_(short.inputs)
    exact64.targets.copy_(short.targets)
    v = short.vector()
    expected = exact64.objective.hessian_product([t.double() for t in v])
    torch.testing.assert_close([t.double() for t in short.objective.hessian_product(v)], expected, rtol=1e-3, atol=1e-5)


def test_cost_is_counted_with_that_of_choosing():
    case = make_case("dense", "squared")
    case.objective.hessian_product(case.vector())
    case.objective.hessian_product(case.vector())
    # Both exact ways were tried on the first micro-batch, 3 of 7 samples.
    assert case.objective.meter.hessian_products == pytest.approx(2.0 + 3.0 / 7.0)
    assert case.objective.meter.gradient_equivalents == pytest.approx(3.0 * (2.0 + 3.0 / 7.0))


def test_a_subset_has_its_own_curvature():
    case = make_case("dense", "squared")
    part = case.objective.subset(3)
    v = case.vector()
    assert not torch.allclose(vectors.pack(part.hessian_product(v)), vectors.pack(case.objective.hessian_product(v)))


def test_sharded_parameters_are_refused():
    case = make_case("dense", "squared")
    case.objective.parameters[0].to_local = lambda: None
    with pytest.raises(UnsupportedError, match="LBFGS"):
        case.objective.hessian_product(case.vector())


class Stale(torch.autograd.Function):
    """x^2 with a derivative that was computed once for all: forward and reverse mode hide the same part of the curvature."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.slope = 2.0 * inputs[0].detach()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.slope * gradient

    @staticmethod
    def jvp(ctx, tangent):
        return ctx.slope * tangent


class Sound(Stale):
    """The same with a derivative that can be differentiated."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2.0 * ctx.saved_tensors[0] * gradient

    @staticmethod
    def jvp(ctx, tangent):
        return 2.0 * ctx.saved_tensors[0] * tangent


def activated(activation, dtype, samples=64, width=32):
    torch.manual_seed(0)
    layers = [nn.Linear(10, width), nn.Linear(width, width), nn.Linear(width, 1)]
    model = nn.Sequential(*layers).to(dtype)
    model.forward = lambda x: layers[2](activation(layers[1](activation(layers[0](x)))))
    x = torch.randn(samples, 10, dtype=dtype)
    return model, x, x.sin().sum(1, keepdim=True)


@pytest.mark.parametrize("function", [Stale, Sound])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_ways_that_share_a_fault_are_told_from_sound_ones(function, dtype):
    model, x, y = activated(function.apply, dtype)
    objective = Objective(model, nn.functional.mse_loss, (x, y), micro_batch=48)
    v = [torch.randn_like(p) for p in model.parameters()]
    product = objective.hessian_product(v)
    assert objective.hessian_mode == ("differences" if function is Stale else "forward-over-reverse")
    # On the first 48 of 64 samples two exact ways and one or two differences were tried.
    assert objective.meter.hessian_products == pytest.approx(0.75 * (4 if function is Stale else 3) + 0.25)
    plain, _, _ = activated(torch.square, torch.float64)
    plain.load_state_dict(model.state_dict())
    expected = Objective(plain, nn.functional.mse_loss, (x.double(), y.double())).hessian_product([t.double() for t in v])
    found = [t.double() for t in product]
    assert vectors.norm(vectors.subtract(found, expected)) < (1e-3 if dtype == torch.float32 else 1e-8) * vectors.norm(expected)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, nn.functional.silu])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kinks_and_rounding_are_no_fault_of_the_exact_ways(activation, dtype, by_hand):
    """Across the kinks of a rectifier differences are far off, in float64 too on this many samples."""

    def times(x):
        return Sound.apply(x) / 10.0 + activation(x) if by_hand else activation(x)

    model, x, y = activated(times, dtype, samples=256, width=128)
    objective = Objective(model, nn.functional.mse_loss, (x, y))
    objective.hessian_product([torch.randn_like(p) for p in model.parameters()])
    assert objective.hessian_mode == "forward-over-reverse", objective._hessian.choice.reasons


def test_a_zero_vector_costs_nothing():
    case = make_case("dense", "squared")
    zero = vectors.zeros_like(case.vector())
    for v in (zero, case.vector(), zero):
        spent = case.objective.meter.gradient_equivalents
        case.objective.hessian_product(v)
        assert (case.objective.meter.gradient_equivalents > spent) == (v is not zero)


def test_a_parameter_that_was_frozen_since_is_named():
    case = make_case("dense", "squared")
    case.model[2].requires_grad_(False)
    with pytest.raises(UnsupportedError, match=r"parameter 2 of shape \(3, 4\) was frozen after the objective was made"):
        case.objective.hessian_product(case.vector())
