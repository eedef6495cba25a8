from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from homestretch import vectors
from homestretch.errors import NondeterministicLossError, UnsupportedError
from homestretch.objective.base import Function, GaussNewtonProducts, HessianProducts, Residuals
from homestretch.objective.least_squares import LeastSquares
from homestretch.objective.redraw import Box, UniformRedraw
from homestretch.objective.taylor import laplacian

# Few points make quick tests; the guard has its own in test_guards.py.
pytestmark = pytest.mark.filterwarnings("ignore::homestretch.errors.OverfitWarning")


def network(outputs=1):
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def pinn(model, points):
    return {"equation": laplacian(model, points["equation"])[1] + 1.0, "border": model(points["border"])}


def points(inner=11, border=6):
    generator = torch.Generator().manual_seed(1)
    make = lambda n: torch.rand(n, 2, generator=generator, dtype=torch.float64)  # noqa: E731
    return {"equation": make(inner), "border": make(border)}


def objective(**options):
    return LeastSquares(pinn, network(), points(), weights={"border": 5.0}, **options)


def by_hand(f, reduction="mean"):
    terms = pinn(f.model, f.points)
    reduce = (lambda r: r.square().mean()) if reduction == "mean" else (lambda r: r.square().sum())
    return reduce(terms["equation"]) + 5.0 * reduce(terms["border"])


def packed_gradient(f):
    return vectors.pack([p.grad for p in f.parameters])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_loss_and_gradient(reduction, factor):
    f = objective(reduction=reduction, factor=factor)
    expected = factor * by_hand(f, reduction)
    gradient = torch.autograd.grad(expected, f.parameters)
    loss = f()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-14)
    assert f.loss() == pytest.approx(float(loss), rel=1e-14)
    torch.testing.assert_close(packed_gradient(f), vectors.pack(gradient), rtol=1e-12, atol=1e-14)
    assert sum(f.terms().values()) == pytest.approx(float(loss), rel=1e-14)
    assert f.meter.gradients == 1.0
    assert f.meter.forwards == 2.0


def test_a_parameter_that_is_frozen_later_is_left_alone_and_has_no_jacobian():
    f = objective()
    frozen = f.parameters[0]
    frozen.requires_grad_(False)
    expected = torch.autograd.grad(by_hand(f), f.parameters[1:])
    f()
    assert frozen.grad is None
    torch.testing.assert_close(vectors.pack([p.grad for p in f.parameters[1:]]), vectors.pack(expected))
    with pytest.raises(UnsupportedError, match=r"parameter 0 .* was frozen after the objective was made"):
        f.jacobian()


def test_is_all_that_directions_ask_for():
    f = objective()
    assert all(isinstance(f, kind) for kind in (Function, HessianProducts, GaussNewtonProducts, Residuals))


def test_jacobian_and_residuals_belong_together():
    f = objective()
    f()
    rho, jacobian = f.residuals(), f.jacobian()
    assert float(rho @ rho) == pytest.approx(f.loss(), rel=1e-13)
    torch.testing.assert_close(2.0 * jacobian.T @ rho, packed_gradient(f), rtol=1e-12, atol=1e-14)
    matrix, right = f.normal_equations()
    torch.testing.assert_close(matrix, jacobian.T @ jacobian, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(right, jacobian.T @ rho, rtol=1e-12, atol=1e-14)


def closure_of(f, memory):
    """The same function given as a closure without points."""
    return LeastSquares(lambda: pinn(f.model, f.points), f.model, weights={"border": 5.0}, jacobian_memory=memory)


@pytest.mark.parametrize(("inner", "memory", "mode"), [(11, 1e6, "rows"), (40, 1e6, "columns"), (40, 2000.0, "rows")])
def test_every_way_to_the_jacobian_gives_the_same(inner, memory, mode):
    f = LeastSquares(pinn, network(), points(inner, 6), weights={"border": 5.0}, jacobian_memory=2000.0)
    jacobian = f.jacobian()
    assert f.jacobian_mode == "per point", f.jacobian_reason
    closure = closure_of(f, memory)
    torch.testing.assert_close(closure.jacobian(), jacobian, rtol=1e-10, atol=1e-13)
    assert closure.jacobian_mode == mode
    assert "points" in closure.jacobian_reason
    # Pieces are as small as was asked for.
    assert max(len(rows) for _, rows in f.jacobian_chunks()) == 2000 // (21 * 8)


def test_several_residuals_at_shared_points():
    def residuals(model, x):
        u = model(x)
        return {"two": u[:, :2] - x, "one": u[:, 2].exp() - x[:, 0]}

    x = torch.rand(7, 2, dtype=torch.float64)
    f = LeastSquares(residuals, network(3), x)
    f()
    jacobian = f.jacobian()
    assert f.jacobian_mode == "per point", f.jacobian_reason
    assert jacobian.shape == (21, f._size)
    torch.testing.assert_close(2.0 * jacobian.T @ f.residuals(), packed_gradient(f), rtol=1e-12, atol=1e-14)


def test_points_with_targets_beside_them():
    x, y = torch.rand(9, 2, dtype=torch.float64), torch.rand(9, 1, dtype=torch.float64)
    f = LeastSquares(lambda model, data: model(data[0]) - data[1], network(), (x, y))
    assert f.jacobian().shape == (9, 21)
    assert f.jacobian_mode == "per point"
    assert list(f.last_terms or f.terms()) == ["residual"]


def test_residuals_that_mix_points_are_noticed():
    f = LeastSquares(lambda model, x: model(x) - model(x).mean(), network(), torch.rand(9, 2, dtype=torch.float64))
    f()
    jacobian = f.jacobian()
    assert f.jacobian_mode == "rows"
    assert "own point" in f.jacobian_reason
    torch.testing.assert_close(2.0 * jacobian.T @ f.residuals(), packed_gradient(f), rtol=1e-10, atol=1e-13)


def test_residuals_that_cannot_go_point_by_point_are_noticed():
    f = LeastSquares(lambda model, x: model(x).reshape(3, 3), network(), torch.rand(9, 2, dtype=torch.float64))
    f.jacobian()
    assert f.jacobian_mode == "rows"
    assert "first dimension" in f.jacobian_reason


def test_products():
    f = objective()
    v = [torch.randn_like(p) for p in vectors.locals_of(f.parameters)]
    jacobian = f.jacobian()
    expected = 2.0 * jacobian.T @ (jacobian @ vectors.pack(v))
    torch.testing.assert_close(vectors.pack(f.gauss_newton_product(v)), expected, rtol=1e-10, atol=1e-12)
    names = [name for name, _ in f.model.named_parameters()]

    def loss(flat):
        tensors = dict(zip(names, vectors.unpack(flat, v), strict=True))
        model = lambda x: torch.func.functional_call(f.model, tensors, (x,))  # noqa: E731
        # Second derivatives in the inputs by plain automatic differentiation.
        inner = f.points["equation"].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(inner).sum(), inner, create_graph=True)
        bend = sum(torch.autograd.grad(slope[:, i].sum(), inner, create_graph=True)[0][:, i] for i in range(2))
        return (bend + 1.0).square().mean() + 5.0 * model(f.points["border"]).square().mean()

    hessian = torch.autograd.functional.hessian(loss, vectors.pack(vectors.locals_of(f.parameters)))
    torch.testing.assert_close(vectors.pack(f.hessian_product(v)), hessian @ vectors.pack(v), rtol=1e-8, atol=1e-10)
    assert f.gauss_newton_mode
    assert f.hessian_mode


def test_plain_tensors():
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    f = LeastSquares(lambda: torch.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]), [x], reduction="sum")
    assert f.loss() == pytest.approx(24.2)
    torch.testing.assert_close(f.jacobian(), torch.tensor([[24.0, 10.0], [-1.0, 0.0]], dtype=torch.float64))
    (product,) = f.gauss_newton_product([torch.tensor([1.0, 0.0], dtype=torch.float64)])
    torch.testing.assert_close(product, 2.0 * torch.tensor([577.0, 240.0], dtype=torch.float64))


def test_redraw_and_reweight_change_the_version():
    f = objective()
    before = f.loss()
    f.redraw(points(20, 3))
    assert f.version == 1
    assert f.loss() != before
    assert f.samples == 23
    f.reweight({"border": 50.0})
    assert f.version == 2
    assert f.terms()["border"] == pytest.approx(50.0 * f.model(f.points["border"]).square().mean().item())
    assert f.jacobian().shape == (23, 21)


def test_points_that_require_gradients_get_none():
    x = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    LeastSquares(lambda model, y: model(y), network(), x)()
    assert x.grad is None


def test_unused_parameters():
    a, b = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    f = LeastSquares(lambda: a * 2.0, [a, b])
    f()
    assert b.grad is None or not b.grad.any()
    assert f.jacobian().shape == (2, 4)
    assert not f.jacobian()[:, 2:].any()


def test_epoch_is_one_closure_and_determinism_is_checked():
    f = objective()
    assert list(f.minibatches(3)) == [f]
    f.check_deterministic()
    noisy = LeastSquares(lambda model, x: model(x) + torch.randn(1), network(), torch.rand(3, 2, dtype=torch.float64))
    with pytest.raises(NondeterministicLossError, match=r"At fault: none of the model's layers.*redraw"):
        noisy.check_deterministic()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"reduction": "max"}, "reduction"),
        ({"factor": 0.0}, "factor"),
        ({"weights": {"border": -1.0}}, "weight of .border. must be positive"),
        ({"jacobian_memory": 0.0}, "jacobian_memory"),
        ({"model": network().requires_grad_(False)}, "trainable"),
    ],
)
def test_refuses_bad_arguments(change, match):
    arguments = {"residuals": pinn, "model": network(), "points": points(), **change}
    with pytest.raises(ValueError, match=match):
        LeastSquares(**arguments)


@pytest.mark.parametrize("parameters", [list, iter])
def test_points_need_a_module(parameters):
    """The residual function is called with it."""
    with pytest.raises(TypeError, match=r"model must be a module where points are given.*got \w+: give the module, or leave"):
        LeastSquares(pinn, parameters(list(network().parameters())), points())


def test_says_what_is_wrong_with_the_residual_function():
    with pytest.raises(ValueError, match="edge"):
        LeastSquares(pinn, network(), points(), weights={"edge": 1.0}).loss()
    with pytest.raises(TypeError, match="residuals must be a function of model and points, or of nothing, got float"):
        LeastSquares(3.0, network(), points())
    with pytest.raises(TypeError, match="NoneType"):
        LeastSquares(lambda model, x: None, network(), points()).loss()
    with pytest.raises(ValueError, match="empty"):
        LeastSquares(lambda model, x: model(x), network(), torch.zeros(0, 2, dtype=torch.float64)).loss()
    with pytest.raises(ValueError, match="given none"):
        LeastSquares(lambda: 0, network()).redraw(points())
    with pytest.raises(ValueError, match="weight"):
        objective().reweight({"border": 0.0})


def test_dense_jacobians_need_one_kind_of_parameter():
    mixed = [torch.ones(1, requires_grad=True), torch.ones(1, dtype=torch.float64, requires_grad=True)]
    with pytest.raises(ValueError, match="GaussNewtonCG"):
        LeastSquares(lambda: mixed[0] + mixed[1], mixed).jacobian()
    sharded = torch.ones(1, requires_grad=True)
    sharded.to_local = lambda: None
    with pytest.raises(UnsupportedError, match="LBFGS"):
        LeastSquares(lambda: sharded * 1.0, [sharded]).jacobian()


@pytest.mark.parametrize("dtype", [torch.complex128, torch.int64])
def test_residuals_that_are_not_real_are_refused(dtype):
    f = LeastSquares(lambda model, x: {"wave": model(x).to(dtype)}, network(), points()["equation"])
    with pytest.raises(TypeError, match="residuals must be real floating-point tensors, got 'wave' of torch"):
        f()


def test_a_term_may_be_constant():
    """It adds to the loss and nothing to the gradient."""
    model = network()
    x = points()["border"]
    f = LeastSquares(lambda m, p: {"fit": m(p) - 1.0, "given": p - 0.5}, model, x)
    alone = LeastSquares(lambda m, p: m(p) - 1.0, model, x)
    total = float(f())
    gradient = [p.grad for p in f.parameters]
    assert total == pytest.approx(float(alone()) + float((x - 0.5).square().mean()), rel=1e-12)
    for g, p in zip(gradient, f.parameters, strict=True):
        assert torch.equal(g, p.grad)


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"inner": a}, lambda a: (torch.zeros(5, 1), a)])
def test_arrays_for_points_are_refused_with_what_makes_tensors_of_them(wrap):
    points = wrap(np.zeros((5, 1)))
    with pytest.raises(TypeError, match=r"numpy array of shape \(5, 1\): torch\.as_tensor"):
        LeastSquares(lambda model, points: model(points), network(), points)
    objective = LeastSquares(lambda model, points: model(points), network(), torch.zeros(5, 1))
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        objective.redraw(points)
    assert objective.version == 0


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (torch.ones(2, requires_grad=True), "a tensor: give .tensor"),
        ({"k": torch.ones(2, requires_grad=True)}, "a dict of str"),
        ([("k", torch.ones(2, requires_grad=True))], "a list of tuple"),
    ],
)
def test_parameters_in_other_shapes_than_a_list_are_refused(model, found):
    with pytest.raises(TypeError, match=f"model must be a module, or a list of the parameters themselves, got {found}"):
        LeastSquares(lambda: 0, model)


def test_a_seed_is_a_whole_number_of_any_kind():
    x = torch.rand(5, 2, dtype=torch.float64)
    rule = UniformRedraw(Box([0.0, 0.0], [1.0, 1.0]), 5)
    draws = [LeastSquares(lambda m, x: m(x), network(), x, redraw=rule, seed=seed) for seed in (3, np.int64(3))]
    for f in draws:
        f.redraw()
    assert torch.equal(draws[0].points, draws[1].points)
    with pytest.raises(TypeError, match="seed must be a whole number"):
        LeastSquares(lambda m, x: m(x), network(), x, seed=3.5)


def test_dropout_is_named_where_it_makes_residuals_random():
    model = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1)).double()
    f = LeastSquares(lambda model, x: model(x), model, points()["equation"])
    with pytest.raises(NondeterministicLossError, match=r"At fault: 1 \(Dropout\).*model\.eval\(\)"):
        f.check_deterministic()
