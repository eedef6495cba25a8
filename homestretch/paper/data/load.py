"""One call from the name of an image set to tensors, wherever the set is."""

from __future__ import annotations

import os
from pathlib import Path

from homestretch.paper.data.digits import read_digits
from homestretch.paper.data.folder import read_folder
from homestretch.paper.data.hub import read_hub
from homestretch.paper.data.image_data import ImageData
from homestretch.paper.data.raw import SETS, RawImages, prepared

__all__ = ["DATA_VARIABLE", "load_data"]

DATA_VARIABLE = "HOMESTRETCH_DATA"
"""The environment variable that names the folder of image sets when no directory is given."""


def load_data(
    name: str,
    directory: str | Path | None = None,
    train_limit: int | None = None,
    validation_limit: int | None = None,
) -> ImageData:
    """Load an image set as normalised tensors of 32 by 32.

    "digits" comes with scikit-learn. The others are read from `directory` or, without one, from the folder that the
    environment variable `HOMESTRETCH_DATA` names or, without that, by their hub names through `datasets`. A folder may
    hold parquet files in the hub's layout, MNIST's IDX files or CIFAR's binary files. Nothing is ever unpickled.

    Values are scaled to [0, 1] and then standardised per channel by the mean and standard deviation of the training
    images that were asked for. Digits are enlarged from 8 by 8, each pixel to 4 by 4; MNIST gets a border of 2 black
    pixels.

    Args:
        name: "digits", "mnist", "cifar-10" or "cifar-100" (with its 100 fine labels).
        directory: Folder of the set's files; not used for "digits".
        train_limit: Only the first so many training images.
        validation_limit: Only the first so many validation images.

    Returns:
        The data.

    Raises:
        ValueError: An unknown name or a limit below 1.
        DataError: The set cannot be found or read; the message names the file.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}; got {name!r}")
    for argument, limit in (("train_limit", train_limit), ("validation_limit", validation_limit)):
        if limit is not None and limit < 1:
            raise ValueError(f"{argument} must be at least 1, or None for all; got {limit}")
    image_set = SETS[name]
    folder = directory or os.environ.get(DATA_VARIABLE)
    if name == "digits":
        training, validation = read_digits()
    elif folder:
        training, validation = read_folder(Path(folder), image_set, train_limit, validation_limit)
    else:
        training, validation = read_hub(image_set, train_limit, validation_limit)
    return prepared(image_set, _first(training, train_limit), _first(validation, validation_limit))


def _first(raw: RawImages, limit: int | None) -> RawImages:
    return raw if limit is None else RawImages(raw.pixels[:limit], raw.labels[:limit])
