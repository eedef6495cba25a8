"""CIFAR's binary files: records of one label (two for CIFAR-100, coarse then fine) and 3,072 bytes, plane by plane.

The layout is described on the set's page (Krizhevsky 2009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from homestretch.errors import DataError
from homestretch.paper.data.raw import MAX_IMAGES, ImageSet, RawImages, checked, joined

__all__ = ["read_cifar_binary"]

_COARSE_CLASSES = 20


def read_cifar_binary(paths: Sequence[Path], image_set: ImageSet, limit: int | None = None) -> RawImages:
    """Read one split of CIFAR-10 or CIFAR-100 from its binary files.

    Args:
        paths: The files, in order.
        image_set: What they should hold; 100 classes mean two labels a record, of which the fine one is kept.
        limit: Stop after this many rows.

    Raises:
        DataError: A size that is no whole number of records, or labels out of range.
    """
    pieces: list[RawImages] = []
    missing = MAX_IMAGES if limit is None else limit
    for path in paths:
        piece = _read_file(path, image_set, missing)
        pieces.append(piece)
        missing -= len(piece.labels)
        if missing <= 0:
            break
    return joined(pieces)


def _read_file(path: Path, image_set: ImageSet, limit: int) -> RawImages:
    labels = 2 if image_set.classes == 100 else 1
    record = labels + math.prod(image_set.shape)
    try:
        size = path.stat().st_size
        if size == 0 or size % record or size // record > MAX_IMAGES:
            raise DataError(
                f"{path}: {size} bytes are no whole number of records of {record}; it is cut short or another format"
            )
        records = np.fromfile(path, dtype=np.uint8, count=min(limit, size // record) * record).reshape(-1, record)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if labels == 2 and int(records[:, 0].max()) >= _COARSE_CLASSES:
        raise DataError(f"{path}: a coarse label of {int(records[:, 0].max())}; they run to {_COARSE_CLASSES - 1}")
    pixels = records[:, labels:].reshape(-1, *image_set.shape)
    return checked(RawImages(pixels, records[:, labels - 1].astype(np.int64)), image_set, path)
