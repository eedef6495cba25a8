from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from homestretch.errors import DataError
from homestretch.paper.data.digits import read_digits


def test_all_digits_are_there_once_in_a_fixed_order():
    training, validation = read_digits()
    again = read_digits()[0]
    assert (len(training.labels), len(validation.labels)) == (1437, 360)
    assert np.array_equal(training.pixels, again.pixels)
    both = np.concatenate([training.pixels, validation.pixels]).reshape(1797, 64)
    stored = load_digits()
    assert np.array_equal(np.unique(both, axis=0), np.unique(stored.data, axis=0))
    # The order is part of what a result means, so a change of it must be noticed.
    assert training.labels[:12].tolist() == stored.target[np.random.RandomState(0).permutation(1797)[:12]].tolist()
    assert np.bincount(validation.labels).min() >= 25


def test_every_image_keeps_its_label():
    stored = load_digits()
    known = {image.astype(np.uint8).tobytes(): label for image, label in zip(stored.data, stored.target, strict=True)}
    for raw in read_digits():
        found = [known[image.tobytes()] for image in raw.pixels]
        assert found == raw.labels.tolist()


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"homestretch\[cli\]"):
        read_digits()
