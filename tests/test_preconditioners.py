from __future__ import annotations

import math

import pytest
import schedulefree
import torch
from torch import nn

from homestretch.preconditioners import Diagonal, Identity, adam_moments, apply

ADAMS = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.8, 0.95)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, eps=1e-3),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2),
    "radam": lambda p: torch.optim.RAdam(p, lr=1e-2),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "schedule-free": lambda p: schedulefree.AdamWScheduleFree(p, lr=1e-2, warmup_steps=0),
}
GRADIENTS = [torch.tensor([[1.0, -2.0], [0.5, 3.0]]) * scale for scale in (1.0, 0.3, -2.0, 1.5, 0.1)]


def trained(make, shape=(2, 2)):
    p = nn.Parameter(torch.zeros(shape))
    optimizer = make([p])
    if hasattr(optimizer, "train"):
        optimizer.train()
    for g in GRADIENTS:
        p.grad = g.clone()
        optimizer.step()
    return optimizer, p


def running_mean(beta):
    mean = torch.zeros(2, 2)
    for g in GRADIENTS:
        mean = beta * mean + (1 - beta) * g**2
    return mean


@pytest.mark.parametrize("name", ADAMS)
def test_is_the_root_of_the_corrected_second_moment(name):
    optimizer, p = trained(ADAMS[name])
    group = optimizer.param_groups[0]
    beta = group["betas"][1]
    expected = (running_mean(beta) / (1 - beta ** len(GRADIENTS))).sqrt() + group["eps"]
    found = adam_moments(optimizer, [p])
    assert found is not None
    torch.testing.assert_close(found.inverse_diagonal[0], 1 / expected)


def test_rmsprop_has_no_correction():
    optimizer, p = trained(lambda q: torch.optim.RMSprop(q, alpha=0.9))
    found = adam_moments(optimizer, [p])
    torch.testing.assert_close(found.inverse_diagonal[0], 1 / (running_mean(0.9).sqrt() + 1e-8))


def test_the_order_is_that_of_the_parameters_and_groups_keep_their_own_numbers():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([{"params": [a], "eps": 1.0}, {"params": [b], "eps": 3.0}])
    a.grad, b.grad = torch.ones(2), torch.full((3,), 5.0)
    optimizer.step()
    found = adam_moments(optimizer, [b, a])
    torch.testing.assert_close(found.inverse_diagonal, [torch.full((3,), 1 / 8.0), torch.full((2,), 1 / 2.0)])


def test_a_parameter_without_gradients_gets_a_floor():
    optimizer, p = trained(ADAMS["adam"])
    optimizer.state[p]["exp_avg_sq"][0, 0] = 0.0
    inverse = adam_moments(optimizer, [p]).inverse_diagonal[0]
    others = 1 / inverse.flatten()[1:]
    assert 1 / inverse[0, 0] == pytest.approx(1e-4 * float(others.sum()) / 4, rel=1e-3)


def test_all_moments_zero_is_the_identity():
    optimizer, p = trained(lambda q: torch.optim.Adam(q, eps=0.0))
    optimizer.state[p]["exp_avg_sq"].zero_()
    assert torch.equal(adam_moments(optimizer, [p]).inverse_diagonal[0], torch.ones(2, 2))


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.Rprop(p)])
def test_others_keep_no_second_moments(make):
    assert adam_moments(*(lambda o, p: (o, [p]))(*trained(make))) is None


def test_nor_does_adam_before_its_first_step_or_for_a_parameter_it_does_not_know():
    p = nn.Parameter(torch.zeros(2))
    assert adam_moments(torch.optim.Adam([p]), [p]) is None
    optimizer, known = trained(ADAMS["adam"])
    assert adam_moments(optimizer, [known, p]) is None


def test_a_diagonal_is_inverted_and_applied():
    found = Diagonal([torch.tensor([2.0, 4.0]), torch.tensor(0.5)])
    torch.testing.assert_close(found.inverse_diagonal, [torch.tensor([0.5, 0.25]), torch.tensor(2.0)])
    vector = [torch.tensor([1.0, 8.0]), torch.tensor(-3.0)]
    torch.testing.assert_close(apply(found.inverse_diagonal, vector), [torch.tensor([0.5, 2.0]), torch.tensor(-6.0)])


def test_the_identity_returns_the_vector_itself():
    vector = [torch.ones(2)]
    assert apply(Identity().inverse_diagonal, vector) is vector


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan, 1e-320])
def test_refuses_a_diagonal_without_finite_positive_inverse(bad):
    with pytest.raises(ValueError, match="positive finite numbers"):
        Diagonal([torch.tensor([1.0, bad], dtype=torch.float64)])


def test_a_parameter_that_was_never_stepped_counts_as_having_moment_zero():
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([used, unused])
    used.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    inverse = adam_moments(optimizer, [used, unused]).inverse_diagonal
    torch.testing.assert_close(1 / inverse[0], torch.tensor([1.0, 2.0, 3.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(1 / inverse[1], torch.full((2,), 1e-4 * 6.0 / 5), rtol=1e-3, atol=0)
