from __future__ import annotations

import math

import numpy as np
import pytest

from homestretch import arguments


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (arguments.positive, [1e-9, 3], [0.0, -1.0, math.nan, math.inf]),
        (lambda name, value: arguments.at_least(name, value, 2.0), [2.0, 7], [1.9, math.nan, math.inf]),
        (arguments.count, [1, 2.0], [0, -1, 1.5, math.nan, math.inf]),
        (arguments.fraction, [0.1, 1], [0.0, 1.1, math.nan]),
        (lambda name, value: arguments.one_of(name, value, ("a", "b")), ["a"], ["c"]),
    ],
    ids=["positive", "at_least", "count", "fraction", "one_of"],
)
def test_checks(check, good, bad):
    assert [check("size", value) for value in good] == good
    for value in bad:
        with pytest.raises(ValueError, match="size must be "):
            check("size", value)


def test_numbers_of_numpy_count():
    assert arguments.count("memory", np.int64(10)) == 10
    with pytest.raises(ValueError, match="memory must be a whole number"):
        arguments.count("memory", object())
