from __future__ import annotations

import numpy as np
import pytest

from benchmarks.profile_plot import draw, ratios, share_within

COSTS = {"homestretch/a": {"p": 10.0, "q": 30.0}, "b": {"p": 5.0}, "c": {}}
PROBLEMS = ["p", "q", "r"]


def test_ratios_are_to_the_cheapest():
    found = ratios(COSTS, PROBLEMS)
    np.testing.assert_array_equal(found["homestretch/a"], [2.0, 1.0, np.inf])
    np.testing.assert_array_equal(found["b"], [1.0, np.inf, np.inf])
    np.testing.assert_array_equal(found["c"], [np.inf] * 3)


@pytest.mark.parametrize(("factor", "share"), [(1.0, 1 / 3), (1.9, 1 / 3), (2.0, 2 / 3), (1e9, 2 / 3)])
def test_share_within(factor, share):
    assert share_within(factor, ratios(COSTS, PROBLEMS)["homestretch/a"]) == pytest.approx(share)


def test_draw(tmp_path):
    draw(COSTS, PROBLEMS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
    draw({"b": COSTS["b"]}, PROBLEMS, tmp_path / "without-ours.png")
    assert (tmp_path / "without-ours.png").exists()
