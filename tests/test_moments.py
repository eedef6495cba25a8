from __future__ import annotations

import math

import pytest
import pytorch_optimizer
import torch
from torch import nn

from homestretch.moments import root_mean_square

GENERATOR = torch.Generator().manual_seed(5)
GRADIENTS = [torch.randn(3, 2, generator=GENERATOR, dtype=torch.float64) * scale for scale in (1.0, 0.3, 2.0, 1.5, 0.1)]


def trained(make, gradients=GRADIENTS):
    p = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = make([p])
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    return optimizer, p


def read(make, gradients=GRADIENTS):
    optimizer, p = trained(make, gradients)
    return root_mean_square(optimizer, p, optimizer.param_groups[0])


def running_mean(beta, gradients=GRADIENTS):
    mean = torch.zeros_like(gradients[0])
    for g in gradients:
        mean = beta * mean + (1 - beta) * g**2
    return mean


def test_adamax_is_its_running_maximum():
    largest = torch.zeros_like(GRADIENTS[0])
    for g in GRADIENTS:
        largest = torch.maximum(0.9 * largest, g.abs() + 1e-8)
    torch.testing.assert_close(read(lambda p: torch.optim.Adamax(p, betas=(0.5, 0.9))), largest)


def test_adagrad_is_the_mean_over_all_steps():
    expected = (sum(g**2 for g in GRADIENTS) / 5).sqrt() + 1e-10
    torch.testing.assert_close(read(torch.optim.Adagrad), expected)


def test_adadelta_is_its_running_mean():
    torch.testing.assert_close(read(lambda p: torch.optim.Adadelta(p, rho=0.8)), running_mean(0.8).sqrt() + 1e-6)


def test_adafactor_is_exact_where_the_moments_have_rank_one():
    left, right = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64), torch.tensor([[0.5, 4.0]], dtype=torch.float64)
    constant = [left @ right] * 4
    torch.testing.assert_close(read(torch.optim.Adafactor, constant), constant[0].abs())


def test_adafactor_keeps_the_moments_of_a_vector_whole():
    torch.testing.assert_close(read(torch.optim.Adafactor, [torch.tensor([1.0, -2.0])] * 3), torch.tensor([1.0, 2.0]))


def test_soap_is_rotated_back_entry_by_entry():
    optimizer, p = trained(lambda q: pytorch_optimizer.SOAP(q, betas=(0.9, 0.8), precondition_frequency=2))
    state = optimizer.state[p]
    (left, right), inside = state["Q"], state["exp_avg_sq"] / (1 - 0.8**4)
    assert not torch.allclose(left, torch.eye(3, dtype=left.dtype))
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for i in range(3):
        for j in range(2):
            for k in range(3):
                for m in range(2):
                    expected[i, j] += left[i, k] ** 2 * right[j, m] ** 2 * inside[k, m]
    torch.testing.assert_close(root_mean_square(optimizer, p, optimizer.param_groups[0]), expected.sqrt() + 1e-8)


def test_soap_finds_the_size_of_gradients_that_do_not_change_their_size():
    """Independent entries of standard deviation 0.1 and 3: read back within the noise of the average."""
    generator = torch.Generator().manual_seed(1)
    deviation = torch.tensor([[0.1, 3.0], [0.1, 3.0], [0.1, 3.0]], dtype=torch.float64)
    gradients = [torch.randn(3, 2, generator=generator, dtype=torch.float64) * deviation for _ in range(400)]
    found = read(lambda q: pytorch_optimizer.SOAP(q, betas=(0.95, 0.99)), gradients)
    assert float((found / deviation).log().abs().max()) < math.log(2.0)


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), torch.optim.Rprop, torch.optim.ASGD])
def test_others_keep_none(make):
    assert read(make) is None


def test_moments_of_another_shape_are_not_taken():
    optimizer, p = trained(torch.optim.Adam)
    optimizer.state[p]["exp_avg_sq"] = torch.ones(6, dtype=torch.float64)
    assert root_mean_square(optimizer, p, optimizer.param_groups[0]) is None
