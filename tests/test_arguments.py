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
    found = [arguments.positive("rate", kind(0.5)) for kind in (np.float32, np.float64)]
    assert [type(value) for value in found] == [float, float]
    assert found == [0.5, 0.5]


@pytest.mark.parametrize("check", [arguments.number, arguments.finite, arguments.positive, arguments.fraction])
@pytest.mark.parametrize("value", ["1", None, True, np.bool_(True), [1.0]])
def test_what_is_no_number_is_named(check, value):
    with pytest.raises(TypeError, match=rf"size must be a number, got .* \({type(value).__name__}\)"):
        check("size", value)


def test_integers():
    assert arguments.integer("seed", np.int64(-3)) == -3
    for value in ("a", 1.5, True, None):
        with pytest.raises(TypeError, match="seed must be a whole number"):
            arguments.integer("seed", value)


def test_no_truth_is_a_count():
    with pytest.raises(ValueError, match="epoch must be a whole number, 1 or more, got True"):
        arguments.count("epoch", True)


@pytest.mark.parametrize("value", [len, "len", 3, {len}, [len, 3], [None]])
def test_what_is_no_list_of_functions(value):
    assert arguments.functions("callbacks", (len, max)) == [len, max]
    with pytest.raises(TypeError, match=r"callbacks must (be a list of|hold) functions"):
        arguments.functions("callbacks", value)
