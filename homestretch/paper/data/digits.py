"""The embedded set: 1,797 real handwritten digits of 8 by 8 that come inside scikit-learn, no network needed."""

from __future__ import annotations

import importlib

import numpy as np

from homestretch.errors import DataError
from homestretch.paper.data.raw import SETS, RawImages, checked

__all__ = ["read_digits"]

_TRAINING = 1437
_SHUFFLE = 0


def read_digits() -> tuple[RawImages, RawImages]:
    """The digits in a fixed random order, the first 1,437 for training and the other 360 for validation.

    The stored order goes writer by writer, so the order is shuffled once and for all: any first rows are a fair subset.

    Returns:
        Training and validation images with pixel values from 0 to 16.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        load_digits = importlib.import_module("sklearn.datasets").load_digits
    except ImportError as error:
        raise DataError('digits come with scikit-learn: pip install "homestretch[cli]"') from error
    stored = load_digits()
    # RandomState, not Generator: numpy promises never to change its streams.
    order = np.random.RandomState(_SHUFFLE).permutation(len(stored.target))
    raw = RawImages(stored.images.astype(np.uint8)[order, None], stored.target.astype(np.int64)[order])
    checked(raw, SETS["digits"], "scikit-learn's digits")
    split = slice(None, _TRAINING), slice(_TRAINING, None)
    training, validation = (RawImages(raw.pixels[part], raw.labels[part]) for part in split)
    return training, validation
