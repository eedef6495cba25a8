from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import Objective
from homestretch.objective.statistics import reestimate, tracking_layers


def data(count=40):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64) * 2.0 + 1.0


def walk(inputs, size):
    return [(inputs[i : i + size], len(inputs[i : i + size])) for i in range(0, len(inputs), size)]


def test_over_one_batch_they_are_mean_and_variance():
    layer = nn.BatchNorm1d(3).double()
    reestimate(layer, walk(data(), 40), layer)
    torch.testing.assert_close(layer.running_mean, data().mean(0))
    torch.testing.assert_close(layer.running_var, data().var(0))
    assert layer.momentum == 0.1
    assert layer.training


def test_over_ragged_batches_they_are_weighted_by_the_samples():
    layer = nn.BatchNorm1d(3).double()
    reestimate(layer, walk(data(), 16), layer)
    torch.testing.assert_close(layer.running_mean, data().mean(0))
    parts = walk(data(), 16)
    torch.testing.assert_close(layer.running_var, sum(count * part.var(0) for part, count in parts) / 40)


def test_a_batch_of_one_sample_is_passed_over():
    layer = nn.BatchNorm1d(3).double()
    reestimate(layer, walk(data(41), 20), layer)
    torch.testing.assert_close(layer.running_mean, data(41)[:40].mean(0))


def test_a_single_sample_counts_where_layers_can_normalise_it():
    """An image has a value for every pixel."""
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1, 5):
        layer = nn.BatchNorm2d(2).double()
        assert reestimate(layer, walk(images, size), layer) == 6
        torch.testing.assert_close(layer.running_mean, images.mean((0, 2, 3)))


def test_without_any_sample_there_are_no_statistics():
    layer = nn.BatchNorm1d(3).double()
    with pytest.raises(ValueError, match="micro_batch: the batch norms cannot normalise samples one by one"):
        reestimate(layer, walk(data(4), 1), layer)
    assert layer.running_mean.tolist() == [0.0] * 3


def test_the_samples_seen_are_told():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    assert "anew over 40 samples" in Objective(model, mse_loss, (data(41), data(41)), micro_batch=20).settle()


def test_dropout_is_off_meanwhile_and_deeper_layers_see_normalised_inputs():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9), nn.BatchNorm1d(3)).double()
    reestimate(model, walk(data(), 40), model)
    torch.testing.assert_close(model[2].running_mean, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(model[2].running_var, torch.full((3,), 40 / 39, dtype=torch.float64), rtol=1e-4, atol=0)


def test_layers_without_running_statistics_have_none():
    assert not tracking_layers(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3)))


def test_settling_an_objective_counts_a_forward_pass_and_changes_the_function():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    objective = Objective(model, mse_loss, (data(), data()))
    before = objective.loss()
    spent = objective.meter.gradient_equivalents
    assert "1 batch norms" in objective.settle()
    assert objective.meter.gradient_equivalents - spent == pytest.approx(1 / 3)
    assert objective.version == 1
    assert objective.loss() != before


def test_there_is_nothing_to_settle_without_batch_norm():
    objective = Objective(nn.Linear(3, 3).double(), mse_loss, (data(), data()))
    assert objective.settle() == ""
    assert objective.version == 0
    assert objective.meter.gradient_equivalents == 0.0
