from __future__ import annotations

import numpy as np
import pytest
import torch

from homestretch.errors import DataError
from homestretch.paper.data.raw import SETS, RawImages, checked, joined, prepared


@pytest.mark.parametrize("name", ["mnist", "cifar-10", "cifar-100"])
def test_values_are_standardised_by_the_training_images(make_raw, name):
    training, validation = make_raw(name, 9), make_raw(name, 4, seed=1)
    data = prepared(SETS[name], training, validation)
    axes = (0, 2, 3)
    scaled = [raw.pixels.astype(np.float64) / 255 for raw in (training, validation)]
    mean, deviation = (statistic(scaled[0], axis=axes, keepdims=True) for statistic in (np.mean, np.std))
    border = (32 - SETS[name].shape[1]) // 2
    for given, made in zip(scaled, (data.train_inputs, data.validation_inputs), strict=True):
        padded = np.pad(given, ((0, 0), (0, 0), (border, border), (border, border)))
        torch.testing.assert_close(made.double(), torch.from_numpy((padded - mean) / deviation), rtol=1e-6, atol=1e-6)
        assert made.dtype == torch.float32
        assert made.is_contiguous()
    assert data.train_targets.tolist() == training.labels.tolist()
    assert data.validation_targets.dtype == torch.int64


def test_digits_are_enlarged_pixel_by_pixel():
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8) % 17
    raw = RawImages(pixels, np.zeros(1, dtype=np.int64))
    image = prepared(SETS["digits"], raw, raw).train_inputs[0, 0]
    assert torch.equal(image, image[::4, ::4].repeat_interleave(4, 0).repeat_interleave(4, 1))
    order = torch.from_numpy(pixels[0, 0].astype(np.float64))
    torch.testing.assert_close(image[::4, ::4].double(), (order - order.mean()) / order.std(correction=0))


def test_a_constant_channel_is_only_centred():
    raw = RawImages(np.full((2, 1, 8, 8), 5, dtype=np.uint8), np.zeros(2, dtype=np.int64))
    assert not prepared(SETS["digits"], raw, raw).train_inputs.any()


@pytest.mark.parametrize(
    ("count", "shape", "labels", "message"),
    [
        (0, (1, 28, 28), [], "holds no images"),
        (2, (1, 28, 27), [0, 1], r"images are \(1, 28, 27\)"),
        (2, (1, 28, 28), [0], "1 labels for 2 images"),
        (2, (1, 28, 28), [0, 10], "label 10 in row 1"),
        (2, (1, 28, 28), [-1, 10], "label -1 in row 0"),
    ],
)
def test_what_a_set_does_not_promise_is_refused(count, shape, labels, message):
    raw = RawImages(np.zeros((count, *shape), dtype=np.uint8), np.array(labels, dtype=np.int64))
    with pytest.raises(DataError, match=f"some-file: .*{message}"):
        checked(raw, SETS["mnist"], "some-file")


def test_pieces_are_joined_in_order(make_raw):
    whole = make_raw("mnist", 5)
    again = joined([RawImages(whole.pixels[:2], whole.labels[:2]), RawImages(whole.pixels[2:], whole.labels[2:])])
    assert np.array_equal(again.pixels, whole.pixels)
    assert np.array_equal(again.labels, whole.labels)
