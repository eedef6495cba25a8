from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from homestretch.paper.models import build_gpt, parameter_count


@pytest.fixture(scope="module")
def model():
    return build_gpt(20, 12, seed=3)


def test_shapes_and_size(model):
    assert model(torch.zeros(5, 12, dtype=torch.long)).shape == (5, 20, 12)
    assert model(torch.zeros(5, 7, dtype=torch.long)).shape == (5, 20, 7)
    assert parameter_count(build_gpt(100, 64)) >= 100_000


def test_a_score_depends_on_no_later_character(model):
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(20, (1, 12), generator=generator)
    other = text.clone()
    other[0, 6:] = torch.randint(20, (6,), generator=generator)
    a, b = model(text), model(other)
    torch.testing.assert_close(a[..., :6], b[..., :6])
    assert not torch.allclose(a[..., 6:], b[..., 6:])


def test_it_can_learn_what_comes_next():
    model = build_gpt(4, 8, seed=0)
    text = (torch.arange(9) % 4).repeat(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        loss = cross_entropy(model(text[:, :-1]), text[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1


def test_it_has_second_derivatives(model):
    text = torch.randint(20, (2, 12), generator=torch.Generator().manual_seed(1))
    loss = cross_entropy(model(text[:, :-1]), text[:, 1:])
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    products = torch.autograd.grad(sum(g.square().sum() for g in gradient), parameters)
    assert all(p.isfinite().all() for p in products)


@pytest.mark.parametrize("sizes", [(1, 8), (8, 1)])
def test_sizes_that_make_no_sense(sizes):
    with pytest.raises(ValueError, match="at least 2"):
        build_gpt(*sizes)
