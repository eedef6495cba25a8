from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import Objective, vectors
from homestretch.errors import UnsupportedError
from homestretch.objective.products import GaussNewtonProduct
from tests.objective.products.conftest import make_case
from tests.objective.products.test_hessian import Crooked


def exact(case):
    jacobian = torch.autograd.functional.jacobian(lambda flat: case.at(flat).reshape(-1), case.flat)
    z = case.at(case.flat).detach()
    curvature = torch.autograd.functional.hessian(lambda y: case.loss(y.view_as(z), case.targets), z.reshape(-1))
    return jacobian.T @ curvature @ jacobian


def test_product_is_exact(case, model_name):
    v = case.vector()
    product = case.objective.gauss_newton_product(v)
    torch.testing.assert_close(vectors.pack(product), exact(case) @ vectors.pack(v), rtol=1e-8, atol=1e-10)
    # Recomputation in the backward pass does not go with tangents.
    assert case.objective.gauss_newton_mode == ("reverse" if model_name == "checkpointed" else "forward")
    torch.testing.assert_close(case.objective.gauss_newton_product(v), product, rtol=1e-12, atol=1e-14)


def test_batch_norm_over_micro_batches_without_moving_its_statistics():
    case = make_case("normalised", "cross-entropy", mode="train", micro_batch=4)
    before = case.model[1].running_mean.clone()
    v = case.vector()
    product = vectors.pack(case.objective.gauss_newton_product(v))
    assert torch.equal(case.model[1].running_mean, before)
    expected = torch.zeros_like(product)
    for i, t in enumerate(case.targets.split(4)):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, i=i: case.outputs_by_batch(flat, 4)[i].reshape(-1), case.flat
        )
        z = case.outputs_by_batch(case.flat, 4)[i].detach()
        curved = torch.autograd.functional.hessian(lambda y, t=t, z=z: case.loss(y.view_as(z), t), z.reshape(-1))
        expected += len(t) / 7 * jacobian.T @ (curved @ (jacobian @ vectors.pack(v)))
    torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_convex_losses_have_semidefinite_products(loss):
    case = make_case("attention", loss)
    for seed in range(5):
        v = case.vector(seed)
        assert vectors.dot(v, case.objective.gauss_newton_product(v)) >= 0.0


def test_differences_where_nothing_else_is_right():
    layer = nn.Linear(3, 2).double()
    model = nn.Sequential(layer)
    model.forward = lambda x: Crooked.apply(layer(x))
    x, t = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    objective = Objective(model, nn.functional.mse_loss, (x, t))
    v = [torch.randn_like(p) for p in vectors.locals_of(objective.parameters)]
    product = vectors.pack(objective.gauss_newton_product(v))
    # J^T u is right in the crooked function, and it is linear in u: the reverse way holds where Hessians would not.
    assert objective.gauss_newton_mode == "reverse"
    flat = vectors.pack(vectors.locals_of(objective.parameters))
    jacobian = torch.autograd.functional.jacobian(
        lambda p: (nn.functional.linear(x, *vectors.unpack(p, v)) ** 3).reshape(-1), flat
    )
    torch.testing.assert_close(product, 2.0 / 10.0 * jacobian.T @ jacobian @ vectors.pack(v), rtol=1e-8, atol=1e-10)


def test_differences_when_no_second_derivative_exists():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):
            return 3.0 * ctx.saved_tensors[0] ** 2 * gradient

    x = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)
    product = GaussNewtonProduct([x])
    v = torch.tensor([1.0, 2.0], dtype=torch.float64)
    (found,) = product(lambda: Once.apply(x), lambda z, image: 2.0 * image, [v])
    assert product.choice.mode == "differences"
    assert product.choice.reasons
    torch.testing.assert_close(found, 2.0 * (3.0 * x.detach() ** 2) ** 2 * v, rtol=1e-7, atol=0.0)


def test_a_loss_linear_in_the_outputs_has_no_curvature():
    case = make_case("dense", "squared")
    objective = Objective(case.model, lambda z, t: z.mean(), (case.inputs, case.targets))
    assert vectors.norm(objective.gauss_newton_product(case.vector())) == 0.0


def test_cost():
    case = make_case("dense", "squared")
    case.objective.gauss_newton_product(case.vector())
    case.objective.gauss_newton_product(case.vector())
    assert case.objective.meter.gradient_equivalents == pytest.approx(2.0 * (2.0 + 3.0 / 7.0))


def test_outputs_must_be_one_tensor():
    model, data = nn.Linear(2, 1), (torch.randn(4, 2), torch.randn(4))
    objective = Objective(model, lambda z, t: z[0].mean(), data, compute=lambda m, b: ((m(b[0]),), b[1]))
    with pytest.raises(UnsupportedError, match="one tensor"):
        objective.gauss_newton_product([torch.ones_like(p) for p in objective.parameters])


def test_a_zero_vector_costs_nothing():
    case = make_case("dense", "squared")
    case.objective.gauss_newton_product(case.vector())
    spent = case.objective.meter.gradient_equivalents
    assert vectors.norm(case.objective.gauss_newton_product(vectors.zeros_like(case.vector()))) == 0.0
    assert case.objective.meter.gradient_equivalents == spent


def test_a_parameter_that_was_frozen_since_is_named():
    case = make_case("dense", "squared")
    case.model[0].bias.requires_grad_(False)
    with pytest.raises(UnsupportedError, match=r"parameter 1 of shape \(4,\) was frozen after the objective was made"):
        case.objective.gauss_newton_product(case.vector())
