from __future__ import annotations

import math

import pytest
import torch

from homestretch.packing import pack, unpack


def test_what_json_holds_becomes_a_text_and_comes_back_bit_for_bit():
    content = {
        "loss": 0.1 + 0.2,
        "none": None,
        "bad": math.nan,
        "far": -math.inf,
        "list": [[1, 2.5], []],
        "on": True,
        "why": "a\u00e9",
    }
    packed = pack(content)
    assert isinstance(packed, str)
    assert repr(unpack(packed)) == repr(content)


@pytest.mark.parametrize("value", [(1, 2), {3: 4}, torch.ones(2)])
def test_what_json_would_change_is_left_as_it_is(value):
    content = {"value": value}
    assert pack(content) is content
    assert unpack(content) is content
