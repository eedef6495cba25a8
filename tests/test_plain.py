from __future__ import annotations

import numpy as np
import pytest
import torch

from homestretch.plain import number, numbers

NAN = float("nan")


@pytest.mark.parametrize("value", [1.5, 3, True, NAN, 2**60 + 1])
def test_pythons_numbers_are_left_alone(value):
    assert number("x", value) is value


@pytest.mark.parametrize(
    "value",
    [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5, requires_grad=True), torch.tensor([0.5]).double()],
)
def test_numbers_of_others_become_pythons(value):
    assert numbers("metrics", {"a": value, "b": 1}) == {"a": 0.5, "b": 1}
    assert type(number("x", value)) is float


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("0.5", "str"),
        (None, "NoneType"),
        (1j, "complex"),
        (torch.zeros(2), r"Tensor of shape \(2,\)"),
        (np.zeros((2, 1)), r"ndarray of shape \(2, 1\)"),
    ],
)
def test_what_is_no_number_is_named(value, what):
    with pytest.raises(TypeError, match=rf"metrics\['accuracy'\] must be a number, got {what}"):
        numbers("metrics", {"loss": 1.0, "accuracy": value})
