"""What holds for every method, whatever the function: properties over random functions, starts and scales."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch import (
    LBFGS,
    Armijo,
    ConjugateGradient,
    GaussNewtonCG,
    GoldenSection,
    LeastSquares,
    LevenbergMarquardt,
    NewtonCG,
    NystromPreconditioner,
    SelfScaledBroyden,
    StrongWolfe,
)
from homestretch.directions.betas import BETAS

METHODS = {
    **{f"cg {beta}": lambda p, beta=beta: ConjugateGradient(p, beta) for beta in BETAS},
    "cg golden section": lambda p: ConjugateGradient(p, "fletcher-reeves", GoldenSection()),
    "cg strong wolfe": lambda p: ConjugateGradient(p, "polak-ribiere", StrongWolfe()),
    "lbfgs": LBFGS,
    "lbfgs armijo": lambda p: LBFGS(p, search=Armijo()),
    "ssbroyden": SelfScaledBroyden,
    "ssbfgs": lambda p: SelfScaledBroyden(p, "ssbfgs"),
    "bfgs": lambda p: SelfScaledBroyden(p, "bfgs"),
    "newton-cg": NewtonCG,
    "newton-cg trust region": lambda p: NewtonCG(p, trust_radius=1.0),
    "newton-cg nystrom": lambda p: NewtonCG(p, nystrom=NystromPreconditioner(2, 3)),
    "gauss-newton-cg": GaussNewtonCG,
    "levenberg-marquardt": LevenbergMarquardt,
    "levenberg-marquardt plain": lambda p: LevenbergMarquardt(p, geodesic=False, solver="qr"),
}
# Its floor -1 / (|d| min(0.01, |g|)) is published in absolute numbers.
WITH_UNITS = {"cg hager-zhang-2005"}


def residuals_of(kind, seed, size=4):
    """Six residuals of ``size`` unknowns: smooth and hard in one way each."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(6, size, generator=generator, dtype=torch.float64) for _ in range(2))
    c = torch.randn(6, generator=generator, dtype=torch.float64)
    return {
        "waves": lambda x: a @ torch.sin(3.0 * x) + 0.1 * (b @ x) - c,
        "overflowing": lambda x: torch.exp(a @ x) - c,
        "bordered": lambda x: torch.log(1.5 + b @ x) + a @ x - c,
        "flat": lambda x: torch.tanh(5.0 * (a @ x)) - 2.0 * c,
        "badly scaled": lambda x: (a @ x - c) * torch.logspace(-4, 4, 6, dtype=torch.float64) + (b @ x).square(),
    }[kind]


def least_squares(residuals, start, factor=1.0):
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    return x, LeastSquares(lambda: residuals(x), [x], reduction="sum", factor=factor)


each_method = pytest.mark.parametrize("method", METHODS)
kinds = st.sampled_from(["waves", "overflowing", "bordered", "flat", "badly scaled"])
starts = st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4)


@each_method
@settings(max_examples=8, deadline=None)
@given(kind=kinds, seed=st.integers(0, 10_000), start=starts)
def test_never_nan_and_never_above_the_start(method, kind, seed, start):
    x, f = least_squares(residuals_of(kind, seed), start)
    first = f.loss()
    f()
    if not (math.isfinite(first) and bool(torch.isfinite(x.grad).all())):
        return  # there is nowhere to start from, which is refused
    optimizer = METHODS[method]([x])
    for _ in range(12):
        loss = optimizer.step(f)
        assert bool(torch.isfinite(x).all())
        assert bool(torch.isfinite(x.grad).all())
        assert loss == pytest.approx(f.loss(), rel=1e-12)
        assert loss <= first * (1.0 + 1e-9)
        if optimizer.stop_reason is not None:
            assert loss <= first
            break


@pytest.mark.parametrize("method", sorted(METHODS.keys() - WITH_UNITS))
@settings(max_examples=4, deadline=None)
@given(
    kind=st.sampled_from(["waves", "flat"]), seed=st.integers(0, 10_000), start=starts, power=st.sampled_from([-40, -7, 9, 60])
)
def test_the_units_of_the_loss_do_not_matter(method, kind, seed, start, power):
    """By a factor that is a power of four, so that nothing rounds otherwise: not even its square root."""
    paths = []
    for factor in (1.0, 4.0**power):
        x, f = least_squares(residuals_of(kind, seed), start, factor)
        optimizer = METHODS[method]([x])
        for _ in range(8):
            optimizer.step(f)
        paths.append(x.detach().clone())
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("ignore::homestretch.errors.PrecisionWarning")
@each_method
def test_a_loss_that_vanishes_at_infinity_is_followed_to_the_end_of_float32(method):
    """As that of separable classes does: factors such as s'y / y'y leave the range of float32 long before the loss is zero."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(6, 4, generator=generator)
    x = torch.zeros(4, requires_grad=True)
    f = LeastSquares(lambda: torch.exp(-(inputs @ x)), [x], reduction="sum")
    optimizer = METHODS[method]([x])
    optimizer.minimize(f, 200)
    assert bool(torch.isfinite(x).all())
    assert f.loss() < 1e-8


@each_method
def test_the_layout_of_parameters_does_not_matter(method):
    """A matrix stored by columns takes the path of the same matrix stored by rows."""
    paths = []
    for transposed in (False, True):
        start = torch.tensor([[0.5, -0.3], [0.8, 0.1]], dtype=torch.float64)
        x = (start.T.contiguous().T if transposed else start).requires_grad_()
        assert x.is_contiguous() is not transposed
        residuals = residuals_of("waves", 3)
        f = LeastSquares(lambda x=x, r=residuals: r(x.reshape(-1)), [x], reduction="sum")
        optimizer = METHODS[method]([x])
        losses = [optimizer.step(f) for _ in range(6)]
        paths.append((x.detach().clone(), losses))
    torch.testing.assert_close(paths[0][0], paths[1][0], rtol=1e-8, atol=1e-10)
    assert paths[0][1] == pytest.approx(paths[1][1], rel=1e-8)


def test_the_arguments_of_torchs_lbfgs_are_told_what_they_are_called_here():
    """All of them: who changes the class name alone is told the next change, not that Descent.__init__ is unknown to them."""
    ours = inspect.signature(LBFGS).parameters.keys()
    for name in inspect.signature(torch.optim.LBFGS).parameters.keys() - ours:
        with pytest.raises(TypeError, match=f"{name} is an argument of torch.optim.LBFGS; for homestretch.LBFGS (give|leave)"):
            LBFGS([torch.nn.Parameter(torch.ones(1))], **{name: 1})
