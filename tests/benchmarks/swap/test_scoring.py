from __future__ import annotations

import math

import pytest

from benchmarks.swap.scoring import score


def test_regret_is_against_the_best_fixed_swap_of_the_same_start():
    losses = {
        ("a", 0): {"fixed-2": 1e-3, "fixed-50": 1e-2, "adam": 1e-4},
        ("a", 1): {"fixed-2": 1e-1, "fixed-50": 2e-1, "adam": 1.0},
    }
    rows = [
        {"problem": p, "seed": s, "method": m, "loss": loss} for (p, s), found in losses.items() for m, loss in found.items()
    ]
    assert [row["regret"] for row in score(rows)] == pytest.approx([0.0, 1.0, -1.0, 0.0, math.log10(2.0), 1.0])


def test_a_loss_that_is_not_finite_is_the_largest_regret():
    rows = [{"problem": "a", "seed": 0, "method": m, "loss": loss} for m, loss in (("fixed-2", 1.0), ("default", math.nan))]
    assert score(rows)[1]["regret"] == math.inf
