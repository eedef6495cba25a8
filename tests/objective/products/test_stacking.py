from __future__ import annotations

import pytest
import torch

from homestretch.objective.products.stacking import Group, Stacking

X = torch.arange(3.0).unsqueeze(1)
TERMS = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([[10.0, 11.0], [20.0, 21.0], [30.0, 31.0]])}


class Fixed(Stacking):
    def __init__(self, points, terms=TERMS):
        self.points, self.found = points, terms

    def evaluate(self, points):
        return self.found

    def scale(self, name, residual):
        return 2.0 if name == "a" else 1.0


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (X, [2.0, 10.0, 11.0, 4.0, 20.0, 21.0, 6.0, 30.0, 31.0]),  # point by point
        ({"a": X, "b": X}, [2.0, 4.0, 6.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0]),  # term by term
        (X[:2], [2.0, 4.0, 6.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0]),  # the terms are of something else than points
        (None, [2.0, 4.0, 6.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0]),
    ],
)
def test_the_order_of_residuals(points, expected):
    stacking = Fixed(points)
    assert stacking.stacked().tolist() == expected
    assert stacking.residual_count == 9


def test_groups_say_what_their_points_are():
    assert Fixed({"a": X, "b": X[:2], "c": X}).groups(TERMS) == [Group(("a",), 3, 3, "a"), Group(("b",), 0, 6, "b")]
    assert Fixed(X).groups(TERMS) == [Group(("a", "b"), 3, 9, "")]
    assert Fixed({"a": X}).groups(TERMS) == [Group(("a", "b"), 3, 9, "")]


BORDER = Group(("border",), 2, 2, "border")
UNKNOWN = Group(("a", "b", "border"), 0, 11, "")


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({"equations": X, "border": X[:2]}, [Group(("a", "b"), 3, 9, "equations"), BORDER]),
        ({"b": X, "equations": X, "border": X[:2]}, [Group(("a",), 3, 3, "equations"), Group(("b",), 3, 6, "b"), BORDER]),
        ({"equations": X[:2], "border": X[:2]}, [UNKNOWN]),  # nothing has their length
        ({"one": X, "other": X, "border": X[:2]}, [UNKNOWN]),  # either may be meant
    ],
)
def test_equations_of_a_system_share_their_set_of_points(points, expected):
    assert Fixed(points).groups({**TERMS, "border": torch.ones(2)}) == expected


def test_points_that_cannot_be_counted_do_not_hinder_terms_with_points_of_their_own():
    assert Fixed({"a": X, "b": X, "shift": 0.5}).groups(TERMS) == [Group(("a",), 3, 3, "a"), Group(("b",), 3, 6, "b")]
