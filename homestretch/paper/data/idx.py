"""MNIST's own file format, plain or gzip-compressed: a header of sizes, then the bytes (LeCun, Cortes, Burges 1998)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from homestretch.errors import DataError
from homestretch.paper.data.raw import MAX_IMAGES, ImageSet, RawImages, checked

__all__ = ["read_idx"]

_GZIP = b"\x1f\x8b"
_BYTES = 8  # the format's code for unsigned bytes


def read_idx(paths: Sequence[Path], image_set: ImageSet, limit: int | None = None) -> RawImages:
    """Read one split of an image set from a file of grey images and a file of labels.

    Args:
        paths: The images' file and the labels' file.
        image_set: What they should hold.
        limit: Keep this many rows.

    Raises:
        DataError: Another format, sizes that do not fit the set, fewer or more bytes than the header promises, or
            labels out of range.
    """
    images, labels = paths
    pixels = _read_array(images, image_set.shape[1:])
    numbers = _read_array(labels, ())
    if len(pixels) != len(numbers):
        raise DataError(f"{labels}: {len(numbers)} labels, but {images.name} has {len(pixels)} images")
    raw = RawImages(pixels[:limit, None].copy(), numbers[:limit].astype(np.int64))
    return checked(raw, image_set, labels)


def _read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file whose items have this shape, uint8 of shape `(count, *shape)`."""
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == _GZIP
            plain.seek(0)
            if not zipped:
                return _parsed(plain, path, shape)
            with gzip.open(plain) as unzipped:
                return _parsed(unzipped, path, shape)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read or unpacked, perhaps cut short ({error})") from error


def _parsed(stream: BinaryIO | gzip.GzipFile, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    dimensions = 1 + len(shape)
    header = stream.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, _BYTES, dimensions)):
        raise DataError(f"{path}: not an IDX file of bytes in {dimensions} dimensions; it begins with {header[:4]!r}")
    count, *item = struct.unpack(f">{dimensions}I", header[4:])
    if tuple(item) != shape:
        raise DataError(f"{path}: items are {tuple(item)}, expected {shape}")
    if count > MAX_IMAGES:
        raise DataError(f"{path}: promises {count} items, more than the {MAX_IMAGES} that are read")
    wanted = count * math.prod(shape)
    # One byte more than promised, so that neither too few nor too many go unnoticed and a bomb is never unpacked.
    data = stream.read(wanted + 1)
    if len(data) != wanted:
        found = f"only {len(data)}" if len(data) < wanted else "more"
        raise DataError(f"{path}: the header promises {wanted} bytes of data, the file has {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(count, *shape)
