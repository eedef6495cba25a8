from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from homestretch.convexity import spectral_density


@pytest.fixture
def spectrum():
    """A quarter of the eigenvalues clearly negative."""
    return [*np.linspace(-2.0, -0.5, 100), *np.linspace(0.5, 4.0, 300)]


def test_moments_and_negative_fraction(make_spectrum, spectrum):
    case = make_spectrum([float(v) for v in spectrum], [(20, 20)])
    found = spectral_density(case.product, case.like, starts=8, steps=20)
    assert found.products == 160
    assert found.mean(1) == pytest.approx(np.mean(spectrum), abs=0.15)
    assert found.mean(2) == pytest.approx(np.mean(np.square(spectrum)), rel=0.1)
    negative = found.negative_fraction()
    assert negative.value == pytest.approx(0.25, abs=max(4.0 * negative.standard_error, 0.02))
    assert 0.0 < negative.standard_error < 0.05
    assert negative.starts == 8
    assert negative.threshold == pytest.approx(-4e-3, rel=0.01)


def test_moments_of_one_start_are_exact_up_to_the_quadrature_degree(network):
    """v' H^p v for p up to 2k - 1, the defining property of Gauss quadrature."""
    from homestretch import vectors
    from homestretch.convexity import random_start

    v = vectors.pack(random_start(network.like, 0))
    found = spectral_density(network.product, network.like, starts=1, steps=4)
    for power in range(8):
        exact = float(v @ torch.linalg.matrix_power(network.matrix, power) @ v)
        assert found.mean(power) == pytest.approx(exact, rel=1e-8)


def test_density_integrates_to_one_and_has_a_gap(make_spectrum, spectrum):
    case = make_spectrum([float(v) for v in spectrum], [(400,)])
    found = spectral_density(case.product, case.like, starts=4, steps=25)
    grid = np.linspace(-4.0, 6.0, 4001)
    density = found.density(grid, width=0.1)
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)
    assert density[np.abs(grid) < 0.1].max() < 0.3 * density.max()
    assert found.density(grid).shape == grid.shape


def test_rounding_is_no_negative_curvature(make_spectrum):
    case = make_spectrum([-1e-6] * 20 + [1.0] * 20, [(40,)])
    found = spectral_density(case.product, case.like, starts=3, steps=10)
    assert found.negative_fraction().value == 0.0
    assert found.negative_fraction(tolerance=0.0).value == pytest.approx(0.5, abs=0.2)


def test_one_start_has_no_standard_error(network):
    assert math.isnan(spectral_density(network.product, network.like, starts=1, steps=3).negative_fraction().standard_error)


def test_zero_operator():
    found = spectral_density(lambda v: [0.0 * t for t in v], [torch.ones(5)], starts=2, steps=3)
    assert np.isfinite(found.density(np.array([0.0, 1.0]))).all()
    assert found.negative_fraction().value == 0.0


@pytest.mark.parametrize(("arguments", "message"), [({"starts": 0}, "starts"), ({"steps": 0}, "steps")])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        spectral_density(lambda v: v, [torch.ones(5)], **arguments)


def test_wrong_width(network):
    with pytest.raises(ValueError, match="width"):
        spectral_density(network.product, network.like, starts=1, steps=3).density(np.zeros(1), width=0.0)


def test_no_parameter_has_no_density():
    with pytest.raises(ValueError, match="like is empty: there is no parameter"):
        spectral_density(lambda v: v, [])
