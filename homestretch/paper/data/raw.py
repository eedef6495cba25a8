"""What every reader hands over, images as bytes, and the one way from there to tensors.

The readers know files; this module knows what an image set must look like, and refuses what does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from homestretch.errors import DataError
from homestretch.paper.data.image_data import ImageData

__all__ = ["MAX_IMAGES", "SETS", "ImageSet", "RawImages", "checked", "joined", "prepared"]

SIDE = 32  # every model of the paper sees images of 32 by 32
MAX_IMAGES = 200_000
"""More images than this in one file are refused: the sets here have at most 60,000, so it is damage or mischief."""


@dataclass(frozen=True)
class ImageSet:
    """What is known of an image set before any file is read.

    Args:
        name: Its name in this package.
        shape: `(channels, height, width)` of its images as stored.
        classes: Number of labels.
        white: Largest pixel value.
        hub: Name on the Hugging Face hub, "" if it is not fetched from there.
        image_column: Column of encoded images in the hub's layout; others that are met in the wild may follow it.
        label_column: Column of labels in the hub's layout.
        stems: How parquet files of this set may begin when several sets share a folder.
        folders: Sub-folders in which the set may lie, as the hub and the usual archives name them.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    white: int = 255
    hub: str = ""
    image_column: tuple[str, ...] = ("image", "img")
    label_column: str = "label"
    stems: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


SETS: dict[str, ImageSet] = {
    one.name: one
    for one in (
        ImageSet("digits", (1, 8, 8), 10, white=16),
        ImageSet(
            "mnist",
            (1, 28, 28),
            10,
            hub="ylecun/mnist",
            stems=("mnist",),
            folders=("mnist", "MNIST/raw", "mnist/mnist", "raw"),
        ),
        ImageSet(
            "cifar-10",
            (3, 32, 32),
            10,
            hub="uoft-cs/cifar10",
            stems=("cifar10", "cifar-10"),
            folders=("plain_text", "cifar-10-batches-bin", "cifar10", "cifar10/plain_text", "cifar-10"),
        ),
        ImageSet(
            "cifar-100",
            (3, 32, 32),
            100,
            hub="uoft-cs/cifar100",
            label_column="fine_label",
            stems=("cifar100", "cifar-100"),
            folders=("cifar-100-binary", "cifar100", "cifar100/cifar100", "cifar-100"),
        ),
    )
}
"""The image sets by name."""


class RawImages(NamedTuple):
    """Images as stored: `pixels` uint8, shape `(count, channels, height, width)`; `labels` int64, shape `(count,)`."""

    pixels: np.ndarray
    labels: np.ndarray


def checked(raw: RawImages, image_set: ImageSet, source: Path | str, first_row: int = 0) -> RawImages:
    """Give `raw` back if it is what the set promises.

    Args:
        raw: What a reader made.
        image_set: What it should be.
        source: The file or place it came from, for the message.
        first_row: The number of the first image there, for the message.

    Raises:
        DataError: No images, another shape, another number of labels than images, or a label out of range.
    """
    pixels, labels = raw
    if len(pixels) == 0:
        raise DataError(f"{source}: holds no images")
    if pixels.shape[1:] != image_set.shape:
        raise DataError(f"{source}: images are {pixels.shape[1:]}, but those of {image_set.name} are {image_set.shape}")
    if len(labels) != len(pixels):
        raise DataError(f"{source}: {len(labels)} labels for {len(pixels)} images")
    wrong = np.flatnonzero((labels < 0) | (labels >= image_set.classes))
    if wrong.size:
        row = int(wrong[0])
        raise DataError(
            f"{source}: label {int(labels[row])} in row {first_row + row}, but labels of {image_set.name} run from 0 to "
            f"{image_set.classes - 1}"
        )
    return raw


def joined(pieces: Sequence[RawImages]) -> RawImages:
    """One after the other."""
    return RawImages(np.concatenate([piece.pixels for piece in pieces]), np.concatenate([piece.labels for piece in pieces]))


def prepared(image_set: ImageSet, training: RawImages, validation: RawImages) -> ImageData:
    """Turn bytes into normalised tensors of 32 by 32.

    Values are scaled to [0, 1], then each channel is centred and divided by its standard deviation. Both statistics are
    those of the training images given, before padding, and serve for the validation images too. A channel that never
    varies is only centred. Images of 8 by 8 are enlarged, each pixel to 4 by 4; images of 28 by 28 get a border of 2
    black pixels.

    Args:
        image_set: The set.
        training: Its training images.
        validation: Its validation images.

    Returns:
        The data, float32 and contiguous.
    """
    tables = _tables(training.pixels, image_set.white)
    return ImageData(
        name=image_set.name,
        train_inputs=_tensor(training.pixels, tables),
        train_targets=torch.from_numpy(training.labels),
        validation_inputs=_tensor(validation.pixels, tables),
        validation_targets=torch.from_numpy(validation.labels),
        classes=image_set.classes,
    )


def _tables(pixels: np.ndarray, white: int) -> np.ndarray:
    """The normalised value of each byte, per channel: float32 of shape `(channels, 256)`.

    Counting how often each byte occurs gives mean and deviation exactly, in float64, without a float copy of the set.
    """
    values = np.arange(256, dtype=np.float64) / white
    tables = []
    for channel in range(pixels.shape[1]):
        # In blocks, because numpy's count widens its input to 8 bytes a pixel.
        counts = sum(
            np.bincount(pixels[start : start + 4096, channel].ravel(), minlength=256) for start in range(0, len(pixels), 4096)
        )
        share = counts / np.sum(counts)
        mean = float(share @ values)
        deviation = float(np.sqrt(share @ (values - mean) ** 2))
        tables.append((values - mean) / (deviation or 1.0))
    return np.asarray(tables, dtype=np.float32)


def _tensor(pixels: np.ndarray, tables: np.ndarray) -> Tensor:
    side = pixels.shape[-1]
    if side <= SIDE // 2:
        pixels = pixels.repeat(SIDE // side, axis=2).repeat(SIDE // side, axis=3)
    elif side < SIDE:
        border = (SIDE - side) // 2
        pixels = np.pad(pixels, ((0, 0), (0, 0), (border, border), (border, border)))
    inputs = np.empty(pixels.shape, dtype=np.float32)
    for channel, table in enumerate(tables):
        inputs[:, channel] = table[pixels[:, channel]]
    return torch.from_numpy(inputs)
