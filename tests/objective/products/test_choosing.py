from __future__ import annotations

import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from homestretch.objective import Tanh
from homestretch.objective.products.choosing import Chooser, agree, by_hand


def vector(value):
    return [torch.tensor([value, 2.0 * value], dtype=torch.float64)]


def missing():
    raise NotImplementedError("no such derivative\nand a long trace")


RIGHT, WRONG = (lambda: vector(1.0)), (lambda: vector(3.0))


@pytest.mark.parametrize(
    ("ways", "mode", "tries"),
    [
        ({"a": RIGHT, "b": RIGHT}, "a", 2),
        ({"a": missing, "b": RIGHT}, "b", 2),
        ({"a": WRONG, "b": RIGHT}, "b", 3),
        ({"a": RIGHT, "b": WRONG}, "a", 3),
        ({"a": WRONG}, "differences", 2),
        ({"a": missing, "b": missing}, "differences", 1),
    ],
)
def test_takes_the_first_way_that_another_one_confirms(ways, mode, tries):
    choose = Chooser()
    assert torch.equal(choose(ways, RIGHT)[0], vector(1.0)[0])
    assert (choose.mode, choose.tries) == (mode, tries)
    # The choice holds, and costs nothing more.
    assert torch.equal(choose(ways, RIGHT)[0], vector(1.0)[0])
    assert (choose.mode, choose.tries) == (mode, 1)


def test_reasons_are_one_line_each():
    choose = Chooser()
    choose({"a": missing, "b": WRONG}, RIGHT)
    assert choose.reasons == ["a: no such derivative", "b: it disagrees with differences of gradients or outputs"]


def test_a_product_that_is_not_finite_decides_nothing():
    choose = Chooser()
    choose({"a": missing}, lambda: vector(math.nan))
    assert choose.mode == ""


def test_a_bug_in_the_loss_is_not_swallowed():
    def broken():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        Chooser()({"a": broken}, broken)


@pytest.mark.parametrize(
    ("reference", "mode"),
    [
        (RIGHT, "b"),  # the nearer one, though differences alone would pass both
        (WRONG, "a"),  # kinks: no exact way knows them
    ],
)
def test_ways_that_part_by_more_than_rounding_are_told_apart_by_differences(reference, mode):
    """As the forward mode of torch's determinants does, by a fifth along other vectors."""
    choose = Chooser()
    choose({"a": lambda: vector(1.0005), "b": RIGHT}, reference)
    assert (choose.mode, choose.tries) == (mode, 3)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, True), (1.0005, True), (1.01, False), (math.nan, False), (math.inf, False)]
)
def test_agreement_is_relative_and_finite(value, expected):
    assert agree(vector(1.0), vector(value), 1e-3) is expected


@pytest.mark.parametrize(
    ("reference", "finer", "mode", "tries"),
    [
        (RIGHT, WRONG, "a", 3),  # differences confirm, and a shorter step is not asked
        (WRONG, WRONG, "differences", 4),
        (WRONG, RIGHT, "a", 4),  # differences that depend on their step are what is wrong
        (WRONG, None, "differences", 3),
        (lambda: vector(math.nan), WRONG, "a", 4),
    ],
)
def test_ways_that_may_share_a_fault_must_be_confirmed_by_differences(reference, finer, mode, tries):
    choose = Chooser()
    choose.doubtful = True
    found = choose({"a": RIGHT, "b": RIGHT}, reference, finer)
    assert torch.equal(found[0], vector(1.0 if mode == "a" else 3.0)[0])
    assert (choose.mode, choose.tries, len(choose.reasons)) == (mode, tries, 0 if mode == "a" else 2)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2.0 * gradient


@torch.library.custom_op("homestretch_tests::double", mutates_args=())
def operator(x: torch.Tensor) -> torch.Tensor:
    return 2.0 * x


operator.register_autograd(lambda ctx, gradient: 2.0 * gradient)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.tanh, False),
        (Tanh(), False),  # the library's own, by hand for tensors of this size
        (Double.apply, True),
        (operator, True),
        (lambda x: checkpoint(torch.tanh, x, use_reentrant=False), False),
        (lambda x: x.detach(), False),
    ],
)
def test_backward_passes_by_hand_are_found_in_a_graph(function, expected):
    x = torch.ones(10_000, requires_grad=True)
    y = function(x.sin() + 1.0)
    assert by_hand((x * y + y.exp()).sum()) is expected
