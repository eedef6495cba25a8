from __future__ import annotations

import pytest

from homestretch.swap import NoiseScale


def test_swaps_when_the_median_stays_above(tools):
    scales: list[float | None] = [100, 9000, 200, 300, 400, 6000, 7000, None, 8000, 6000, 100, 9000]
    series = tools.series([1.0] * 12, [1.0] * 12, samples=5000, noise_scale=scales)
    # the median of five is above 5,000 from the ninth epoch on: one outlier, high or low, leaves no trace
    assert tools.swap_epoch(NoiseScale(window=5, patience=1), series) == 9
    assert tools.swap_epoch(NoiseScale(window=5, patience=3), series) == 11


def test_share(tools):
    series = tools.series([1.0] * 9, [1.0] * 9, samples=5000, noise_scale=2000.0)
    assert tools.swap_epoch(NoiseScale(1.0), series) is None
    assert tools.swap_epoch(NoiseScale(0.4), series) == 7


def test_without_estimate(tools):
    decision = NoiseScale().observe(tools.series([1.0], [1.0], samples=10)[0])
    assert not decision.swap
    assert "no estimate" in decision.reason


def test_needs_the_size_of_the_data(tools):
    with pytest.raises(ValueError, match="needs the size of the data set"):
        NoiseScale().observe(tools.series([1.0], [1.0])[0])
