from __future__ import annotations

import numpy as np
import pytest

from homestretch.swap.smoothing import smooth, span


def test_median_ignores_one_outlier():
    assert smooth([1.0, 1.1, 50.0], "median", 3) == 1.1


@pytest.mark.parametrize("window", [1, 2, 5, 9])
def test_ema_is_the_full_average_up_to_its_cut(window):
    values = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    weight = 2.0 / (window + 1.0)
    full = values[0]
    for value in values[1:]:
        full = (1.0 - weight) * full + weight * value
    assert smooth(list(values[-span("ema", window) :]), "ema", window) == pytest.approx(full, abs=0.01)


def test_none_is_the_last():
    assert smooth([1.0, 2.0], "none", 7) == 2.0
    assert span("none", 7) == 1
