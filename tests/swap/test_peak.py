from __future__ import annotations

import numpy as np
import pytest

from homestretch.swap import GradientNormPeak

RISE_AND_FALL = [(1, 0.1), (10, 1.0), (30, 0.1)]


@pytest.mark.parametrize(
    ("name", "earliest", "latest"), [("mnist-softmax", 9, 20), ("cifar-softmax", 41, 75), ("linear", 27, 50)]
)
@pytest.mark.parametrize("smoothing", ["median", "ema"])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
def test_finds_the_measured_peaks(name, earliest, latest, smoothing, noise, tools):
    series = tools.measured(name)
    random = np.random.default_rng(1)
    noisy = [o.gradient_norm * np.exp(noise * random.standard_normal()) for o in series]
    series = tools.series([o.loss for o in series], noisy)
    assert earliest <= tools.swap_epoch(GradientNormPeak(smoothing=smoothing), series) <= latest


def falling(tools, epochs=60, loss=(1.0, 0.1)):
    losses = tools.interpolated([(1, loss[0]), (epochs, loss[1])], epochs)
    return losses, tools.interpolated(RISE_AND_FALL, epochs)


def test_waits_for_patience(tools):
    losses, norms = falling(tools)
    epochs = [tools.swap_epoch(GradientNormPeak(patience=p, smoothing="none"), tools.series(losses, norms)) for p in (1, 3, 6)]
    assert epochs == [11, 13, 16]


@pytest.mark.parametrize(("steps", "window"), [(4, 5), (7, 3), (100, 1)])
def test_a_window_may_be_stated_in_steps(steps, window, tools):
    losses, norms = falling(tools)
    norms = norms * np.exp(0.1 * np.random.default_rng(1).standard_normal(len(norms)))
    counted = tools.series(losses, norms, epoch_steps=steps)
    by_steps, by_epochs = GradientNormPeak(window_steps=20), GradientNormPeak(window=window)
    assert [by_steps.observe(o) for o in counted] == [by_epochs.observe(o) for o in counted]


def test_a_window_in_steps_needs_their_number(tools):
    with pytest.raises(ValueError, match="give epoch_steps"):
        GradientNormPeak(window_steps=20).observe(tools.series([1.0], [1.0])[0])


def test_count_starts_again_when_the_norm_comes_back(tools):
    losses, norms = falling(tools)
    peak = norms.max()
    norms[10:16] = peak * np.array([0.8, 0.8, 0.95, 0.8, 0.99, 0.8])  # 0.95 is between factor and release: the count stays
    rule = GradientNormPeak(smoothing="none", patience=4)
    below = [rule.observe(o).values.get("below") for o in tools.series(losses, norms)]
    assert below[10:16] == [1, 2, 2, 3, 0, 1]


def test_a_plateau_shows_nothing(tools):
    losses, norms = falling(tools)
    losses[9:] = losses[9]
    rule = GradientNormPeak(fallback_share=None)
    decisions = [rule.observe(o) for o in tools.series(losses, norms)]
    assert not any(d.swap for d in decisions)
    assert "the loss 0.704 has not fallen since" in decisions[20].reason


def test_initial_loss_must_have_fallen(tools):
    losses, norms = falling(tools, loss=(1.0, 0.95))
    rule = GradientNormPeak(fallback_share=None)
    decisions = [rule.observe(o) for o in tools.series(losses, norms)]
    assert not any(d.swap for d in decisions)
    assert "has not yet fallen to 0.9 x its first value" in decisions[-1].reason


def test_norm_that_only_falls_waits_for_the_fallback(tools):
    series = tools.series(tools.interpolated([(1, 1.0), (150, 0.01)], 150), tools.interpolated([(1, 4.5), (150, 0.01)], 150))
    rule = GradientNormPeak(fallback_share=0.5)
    decisions = [rule.observe(o) for o in series]
    assert [d.swap for d in decisions].index(True) == 99
    assert "no peak of the gradient norm in 50.0% of the budget" in decisions[99].reason
    assert tools.swap_epoch(GradientNormPeak(fallback_share=None), series) is None


def test_no_fallback_without_a_budget(tools):
    series = tools.series([1.0] * 30, [1.0] * 30, budget=None)
    assert tools.swap_epoch(GradientNormPeak(), series) is None


@pytest.mark.parametrize(("drop", "swaps"), [(1.0, True), (0.1, False)])
def test_fall_explained_by_the_learning_rate_is_no_peak(drop, swaps, tools):
    losses = tools.interpolated([(1, 1.0), (60, 0.1)], 60)
    norms = tools.interpolated([(1, 0.1), (20, 1.0), (60, 1.0)], 60)
    norms[30:] *= 0.3  # the rate falls tenfold here, or not at all
    rates = [1e-3] * 30 + [drop * 1e-3] * 30
    series = tools.series(losses, norms, learning_rate=rates)
    rule = GradientNormPeak(fallback_share=None)
    decisions = [rule.observe(o) for o in series]
    assert any(d.swap for d in decisions) is swaps
    assert ("for the lower learning rate" in decisions[-1].reason) is not swaps


def test_fall_beyond_the_learning_rate_counts(tools):
    losses, norms = falling(tools)
    series = tools.series(losses, norms, learning_rate=[1e-3] * 10 + [2e-4] * 50)
    assert tools.swap_epoch(GradientNormPeak(fallback_share=None), series) in range(25, 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 0.0}, "factor"),
        ({"rise": 0.9}, "rise"),
        ({"loss_factor": -1.0}, "loss_factor"),
        ({"window": 0}, "window"),
        ({"smoothing": "mean"}, "smoothing must be one of 'median', 'ema', 'none', got 'mean'"),
        ({"patience": 1.5}, "patience"),
        ({"release": 0.8}, "release must be a finite number, 0.9 or more"),
        ({"fallback_share": 2.0}, "fallback_share"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GradientNormPeak(**settings)


def test_defaults_are_not_complained_about():
    assert GradientNormPeak().release == 0.97
    assert GradientNormPeak(0.98).release == 0.98
