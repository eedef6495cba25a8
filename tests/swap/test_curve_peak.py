from __future__ import annotations

import numpy as np
import pytest

from homestretch.swap import CurvePeak
from homestretch.swap.curve_peak import curve, first_peak


@pytest.mark.parametrize(
    ("name", "earliest", "latest"), [("mnist-softmax", 9, 20), ("cifar-softmax", 41, 80), ("linear", 27, 55)]
)
def test_finds_the_measured_peaks(name, earliest, latest, tools):
    assert earliest <= tools.swap_epoch(CurvePeak(), tools.measured(name)) <= latest


def test_noise_that_mini_batches_make(tools):
    """Loss and norm that wander: the order of epochs says little, the curve still shows its peak near loss .3."""
    random = np.random.default_rng(0)
    losses = tools.interpolated([(1, 1.0), (300, 0.05)], 300)
    norms = np.interp(np.log(losses), np.log([0.05, 0.3, 1.0]), [0.1, 1.0, 0.1])
    noisy = tools.series(losses * np.exp(0.1 * random.standard_normal(300)), norms * np.exp(0.3 * random.standard_normal(300)))
    rule = CurvePeak()
    decisions = [rule.observe(o) for o in noisy]
    swap = next(i for i, d in enumerate(decisions) if d.swap)
    assert 0.2 < decisions[swap].values["peak_loss"] < 0.45
    assert 0.1 < losses[swap] < 0.3


def test_curve_bins_by_loss():
    losses, norms = curve([1.0, 1.02, 0.5, 0.51, 0.505], [1.0, 3.0, 5.0, 7.0, 6.0], width=0.1)
    assert losses == [1.01, 0.505]
    assert norms == [4.0, 4.0]  # medians 2 and 6, then the median of neighbours


@pytest.mark.parametrize(
    ("values", "peak"), [([3.0, 2.0, 1.0], None), ([3.0, 1.0, 1.4, 1.2], None), ([9.0, 1.0, 2.0, 5.0, 4.0], 3), ([], None)]
)
def test_first_peak(values, peak):
    assert first_peak(values, 1.5) == peak


def test_loss_must_be_positive(tools):
    with pytest.raises(ValueError, match="CurvePeak needs positive losses, got -1"):
        CurvePeak().observe(tools.series([-1.0], [1.0])[0])
