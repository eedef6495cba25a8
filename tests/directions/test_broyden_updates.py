from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch.directions import broyden_updates
from homestretch.directions.broyden_updates import VARIANTS, Update, add_outer_, choose, update_root_
from tests.directions.broyden_reference import bfgs, next_inverse_hessian


def pair(n, seed=0, curvature=None, condition=1e2):
    """A root J, a step along -H g, and the change of the gradient of a convex quadratic."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n)) + 3 * np.eye(n)
    g = rng.normal(size=n)
    s = -rng.uniform(0.2, 2.0) * root @ root.T @ g
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    hessian = q @ np.diag(np.geomspace(1.0, condition, n) * (curvature or 10 ** rng.uniform(-3, 1))) @ q.T
    return root, s, hessian @ s


def updated(variant, root, s, y, dtype=torch.float64):
    j, s, y = (torch.tensor(t, dtype=dtype) for t in (root, s, y))
    update = update_root_(j, s, y, torch.linalg.solve(j, s), float(s @ y), variant)
    return j, update


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [2, 3, 17])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_reference(variant, n, seed):
    root, s, y = pair(n, seed)
    j, update = updated(variant, root, s, y)
    expected = next_inverse_hessian(variant, root @ root.T, s, y)
    assert update is not None
    np.testing.assert_allclose((j @ j.T).numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("n", [1, 2, 9])
def test_bfgs_is_the_textbooks(n):
    root, s, y = pair(n)
    j, _ = updated("bfgs", root, s, y)
    np.testing.assert_allclose((j @ j.T).numpy(), bfgs(root @ root.T, s, y), rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    n=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    curvature=st.floats(1e-4, 1e4),
    condition=st.floats(1.0, 1e4),
)
def test_secant_equation_and_definiteness(variant, n, seed, curvature, condition):
    root, s, y = pair(n, seed, curvature, condition)
    j, update = updated(variant, root, s, y)
    assert update is not None
    h = j @ j.T
    image = (h @ torch.tensor(y)).numpy()
    scale = float(h.abs().max()) * np.linalg.norm(y)
    np.testing.assert_allclose(image, s, rtol=0, atol=1e-9 * scale)
    assert float(torch.linalg.svdvals(j)[-1]) > 0.0


def test_ssbroyden_uses_both_signs_of_theta_and_scales():
    updates = [updated("ssbroyden", *pair(6, seed, curvature))[1] for seed in range(20) for curvature in (1e-3, 1.0, 1e3)]
    assert any(u.theta > 0.0 for u in updates)
    assert any(u.theta < 0.0 for u in updates)
    assert all(0.0 < u.tau <= 1.0 + 1e-12 for u in updates)
    assert any(u.tau < 0.5 for u in updates)


@pytest.mark.parametrize("variant", VARIANTS)
def test_y_along_b_s_leaves_the_other_directions_to_the_scaling(variant):
    # With y = B s / 2 the family has one member: a = 0.
    root, s, _ = pair(5)
    y = np.linalg.solve(root @ root.T, s) / 2
    j, update = updated(variant, root, s, y)
    tau = 1.0 if variant == "bfgs" else 0.5
    assert update.tau == pytest.approx(tau)
    H = root @ root.T
    expected = (H - np.outer(s, s) / (2 * s @ y)) / tau + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose((j @ j.T).numpy(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("variant", ["ssbroyden", "ssbfgs"])
@pytest.mark.parametrize("a", [0.0, 0.5, 1e6])
def test_a_step_far_beyond_the_first_does_not_blow_up_the_rest(variant, a):
    assert choose(variant, a, 1e10, 5).tau == 1e-3


def test_choices_without_scaling():
    assert choose("bfgs", 3.0, 0.1, 5) == Update(0.0, 1.0)
    assert choose("ssbfgs", 3.0, 0.1, 5) == Update(0.0, 1.0)
    assert choose("ssbfgs", 3.0, 4.0, 5) == Update(0.0, 0.25)
    assert choose("ssbroyden", 0.0, 4.0, 5) == Update(0.0, 0.25)


def test_a_matrix_is_left_alone_where_numbers_are_not_finite():
    root, s, y = pair(4)
    y[0] = np.inf
    j, update = updated("ssbroyden", root, s, y)
    assert update is None
    np.testing.assert_array_equal(j.numpy(), root)


def test_products_stay_definite_in_float32_where_the_matrix_does_not():
    # Condition numbers of H beyond what float32 can hold, met by steps along ever flatter directions.
    rng = np.random.default_rng(0)
    n = 12
    hessian = np.geomspace(1.0, 1e10, n)
    j = torch.eye(n)
    for _ in range(200):
        s = -(j @ j.T @ torch.tensor(rng.normal(size=n), dtype=torch.float32))
        y = torch.tensor(hessian, dtype=torch.float32) * s
        update_root_(j, s, y, torch.linalg.solve(j, s), float(s @ y), "bfgs")
    eigenvalues = torch.linalg.svdvals(j).double().square()
    assert float(eigenvalues[0] / eigenvalues[-1]) > 1e8
    product = torch.tensor(hessian) * (j @ j.T).diagonal().double()
    assert float(product.min()) > 0.2
    assert float(product.max()) < 5.0


@pytest.mark.parametrize("terms", [1, 2])
def test_outer_products_are_added_block_by_block(monkeypatch, terms):
    monkeypatch.setattr(broyden_updates, "_BLOCK_BYTES", 5 * 13 * 8)
    a = torch.randn(13, 13, dtype=torch.float64)
    vectors = [(torch.randn(13, dtype=torch.float64), torch.randn(13, dtype=torch.float64)) for _ in range(terms)]
    expected = 0.7 * a + sum(torch.outer(u, w) for u, w in vectors)
    add_outer_(a, 0.7, vectors)
    torch.testing.assert_close(a, expected)
