from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from homestretch import vectors
from homestretch.convexity import extremes, random_start, tridiagonalise
from homestretch.errors import NonFiniteError


def test_extremes_equal_the_exact_ones(case):
    exact = torch.linalg.eigvalsh(case.matrix)
    found = extremes(case.product, case.like, products=len(exact), tolerance=1e-10)
    scale = float(exact.abs().max()) or 1.0
    assert abs(found.smallest - float(exact[0])) <= 1e-9 * scale
    assert abs(found.largest - float(exact[-1])) <= 1e-9 * scale
    assert found.converged


def test_full_run_gives_the_whole_spectrum(network):
    """Forty-odd steps without ghosts: what full reorthogonalisation is for."""
    exact = torch.linalg.eigvalsh(network.matrix).numpy()
    run = tridiagonalise(network.product, random_start(network.like, 0), 1000)
    values, residuals, weights = run.ritz()
    assert run.products <= len(exact)
    assert run.complete
    assert np.abs(values - exact[:, None]).min(axis=0).max() <= 1e-9 * np.abs(exact).max()
    assert residuals.max() == 0.0
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20])
def test_residual_bounds_hold(case, steps):
    exact = torch.linalg.eigvalsh(case.matrix).numpy()
    values, residuals, _ = tridiagonalise(case.product, random_start(case.like, 1), steps).ritz()
    slack = 1e-10 * max(float(np.abs(exact).max()), 1.0)
    assert all(np.abs(exact - value).min() <= residual + slack for value, residual in zip(values, residuals, strict=True))
    assert values.min() >= exact.min() - slack
    assert values.max() <= exact.max() + slack


def test_no_ghosts_in_float32(make_spectrum):
    """A spectrum with a far outlier: without reorthogonalisation copies of it appear within a few steps."""
    case = make_spectrum([1000.0, *[i / 60 for i in range(1, 60)]], [(60,)], torch.float32)
    values, _, _ = tridiagonalise(case.product, random_start(case.like, 0), 40).ritz()
    assert (values > 500.0).sum() == 1


def test_breakdown_ends_the_run(make_spectrum):
    case = make_spectrum([2.0] * 15 + [5.0] * 15, [(30,)])
    run = tridiagonalise(case.product, random_start(case.like, 0), 30)
    assert run.products == 2
    assert run.complete


def test_converged_ends_early(make_spectrum):
    case = make_spectrum([-50.0, *[0.01 * i for i in range(100)], 100.0], [(102,)])
    found = extremes(case.product, case.like, products=60, tolerance=1e-3)
    assert found.converged
    assert found.products < 15


def test_unsettled_says_so(make_spectrum):
    case = make_spectrum([float(i) for i in range(200)], [(200,)])
    found = extremes(case.product, case.like, products=5, tolerance=1e-6)
    assert found.products == 5
    assert not found.converged
    assert found.residual_largest > 0.1


def test_start_depends_on_the_seed_alone():
    like = [torch.zeros(3, 2), torch.zeros(4, dtype=torch.float64)]
    torch.manual_seed(1)
    first = random_start(like, 7)
    torch.manual_seed(2)
    again, other = random_start(like, 7), random_start(like, 8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert [t.dtype for t in first] == [torch.float32, torch.float64]
    assert vectors.norm(first) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own forward mode
def test_curvlinops_agrees(network):
    curvlinops = pytest.importorskip("curvlinops")
    params = list(network.model.parameters())
    operator = curvlinops.HessianLinearOperator(network.model, torch.nn.MSELoss(), params, network.batches)
    v = random_start(network.like, 2)
    theirs = operator @ vectors.pack(v)
    assert torch.allclose(vectors.pack(network.product(v)), theirs, rtol=1e-8, atol=1e-12)
    from scipy.sparse.linalg import eigsh

    largest = eigsh(operator.to_scipy(), k=1, which="LA", return_eigenvectors=False)[0]
    found = extremes(network.product, network.like, products=32, tolerance=1e-10)
    assert found.largest == pytest.approx(float(largest), rel=1e-8)


def test_products_that_are_not_finite():
    with pytest.raises(NonFiniteError, match="not finite"):
        extremes(lambda v: [t * math.nan for t in v], [torch.ones(3)])


@pytest.mark.parametrize("like", [[], [torch.zeros(0)]])
def test_nothing_to_take_a_curvature_over(like):
    with pytest.raises(ValueError, match="like is empty"):
        extremes(lambda v: v, like)


def test_zero_start():
    with pytest.raises(ValueError, match="start must have a positive, finite length, got 0"):
        tridiagonalise(lambda v: v, [torch.zeros(3)], 2)


@pytest.mark.parametrize("outlier", [3e5, 1e8])
def test_a_far_outlier_in_float32_does_not_hide_what_is_not_known(make_spectrum, outlier):
    """What rounding calls an invariant subspace may lack the other end: its residual must say so."""
    case = make_spectrum([outlier, *[i / 30 for i in range(-30, 30)]], [(61,)], torch.float32)
    found = extremes(case.product, case.like, products=30, tolerance=1e-8)
    assert found.smallest - found.residual_smallest <= -1.0 + 1e-2
