from __future__ import annotations

import math

import numpy as np
import pytest

from homestretch.directions.betas import BETAS, BetaTerms

SHAPES = ((3,), (2, 2), (), (1, 2))


def inner(a, b):
    """The slow, obvious inner product of two lists of arrays."""
    return sum(float(x) * float(y) for s, t in zip(a, b, strict=True) for x, y in zip(s.flat, t.flat, strict=True))


def combine(a, p, b, q):
    return [p * s + q * t for s, t in zip(a, b, strict=True)]


def norm(a):
    return math.sqrt(inner(a, a))


def fletcher_reeves(new, old, d):
    return norm(new) ** 2 / norm(old) ** 2


def polak_ribiere(new, old, d):
    return max(0.0, inner(new, combine(new, 1, old, -1)) / norm(old) ** 2)


def hestenes_stiefel(new, old, d):
    y = combine(new, 1, old, -1)
    return max(0.0, inner(new, y) / inner(d, y))


def dai_yuan(new, old, d):
    return norm(new) ** 2 / inner(d, combine(new, 1, old, -1))


def liu_storey(new, old, d):
    return max(0.0, -inner(new, combine(new, 1, old, -1)) / inner(d, old))


def hybrid(new, old, d):
    return max(0.0, min(hestenes_stiefel(new, old, d), dai_yuan(new, old, d)))


def plain_hager_zhang(new, old, d):
    """Formula 1.3 of Hager and Zhang (2005) as printed: <y - 2 d |y|^2 / <d, y>, g_new> / <d, y>."""
    y = combine(new, 1, old, -1)
    return inner(combine(y, 1, d, -2 * norm(y) ** 2 / inner(d, y)), new) / inner(d, y)


def hager_zhang_2005(new, old, d):
    return max(plain_hager_zhang(new, old, d), -1 / (norm(d) * min(0.01, norm(old))))


def hager_zhang(new, old, d):
    return max(plain_hager_zhang(new, old, d), 0.4 * inner(d, old) / norm(d) ** 2)


REFERENCES = {
    "fletcher-reeves": fletcher_reeves,
    "polak-ribiere": polak_ribiere,
    "hestenes-stiefel": hestenes_stiefel,
    "dai-yuan": dai_yuan,
    "liu-storey": liu_storey,
    "hybrid": hybrid,
    "hager-zhang-2005": hager_zhang_2005,
    "hager-zhang": hager_zhang,
}


def draw(seed):
    generator = np.random.default_rng(seed)
    other, old, noise = ([np.asarray(generator.normal(size=s)) for s in SHAPES] for _ in range(3))
    new = combine(old, generator.uniform(-1.5, 1.5), other, 0.5)  # with it and against it
    return new, old, combine(old, -1.0, noise, 0.3)


def terms(new, old, d, diagonal):
    """The products as the direction computes them, with M = diag(diagonal)."""
    y = combine(new, 1, old, -1)
    z, z_old, py = ([v / m for v, m in zip(a, diagonal, strict=True)] for a in (new, old, y))
    md = [v * m for v, m in zip(d, diagonal, strict=True)]
    return BetaTerms(
        gz=inner(new, z), gz_old=inner(old, z_old), yz=inner(y, z), yy=inner(y, py),
        dy=inner(d, y), dg=inner(d, new), dg_old=inner(d, old), dd=inner(d, md),
    )  # fmt: skip


def test_every_beta_has_a_reference():
    assert BETAS.keys() == REFERENCES.keys()


@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("seed", range(20))
def test_is_the_published_formula(name, seed):
    new, old, d = draw(seed)
    ones = [np.ones(s) for s in SHAPES]
    assert BETAS[name](terms(new, old, d, ones)) == pytest.approx(REFERENCES[name](new, old, d), rel=1e-12)


@pytest.mark.parametrize("name", BETAS)
@pytest.mark.parametrize("seed", range(20))
def test_preconditioned_it_is_the_published_formula_of_the_scaled_variables(name, seed):
    """With x = M^(-1/2) u the gradient by u is M^(-1/2) g and a direction d becomes M^(1/2) d."""
    new, old, d = draw(seed)
    generator = np.random.default_rng(100 + seed)
    diagonal = [np.exp(generator.normal(size=s)) for s in SHAPES]
    scaled_new, scaled_old = ([v / np.sqrt(m) for v, m in zip(a, diagonal, strict=True)] for a in (new, old))
    scaled_d = [v * np.sqrt(m) for v, m in zip(d, diagonal, strict=True)]
    expected = REFERENCES[name](scaled_new, scaled_old, scaled_d)
    assert BETAS[name](terms(new, old, d, diagonal)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", BETAS)
def test_the_draws_reach_both_sides_of_a_truncation(name):
    """Where a formula has a floor, the cases above meet it and stay clear of it."""
    floors = {
        "polak-ribiere": 0.0, "hestenes-stiefel": 0.0, "liu-storey": 0.0, "hybrid": 0.0,
        "hager-zhang": "bound", "hager-zhang-2005": None, "dai-yuan": None, "fletcher-reeves": None,
    }  # fmt: skip
    values, plain = zip(*((REFERENCES[name](*draw(s)), plain_hager_zhang(*draw(s))) for s in range(20)), strict=True)
    floor = floors[name]
    at_floor = [v != p for v, p in zip(values, plain, strict=True)] if floor == "bound" else [v == floor for v in values]
    assert any(at_floor) == (floor is not None)
    assert not all(at_floor)
