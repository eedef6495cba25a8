from __future__ import annotations

import math

import pytest
import torch

from homestretch.objective.products.choosing import Chooser, agree


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
    ("value", "expected"), [(1.0, True), (1.0005, True), (1.01, False), (math.nan, False), (math.inf, False)]
)
def test_agreement_is_relative_and_finite(value, expected):
    assert agree(vector(1.0), vector(value), 1e-3) is expected
