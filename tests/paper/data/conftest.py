"""Makers of tiny image sets in every layout that the package reads."""

from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from homestretch.paper.data.raw import SETS, RawImages


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """One image of shape `(channels, height, width)` as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def encode():
    return encoded


@pytest.fixture
def make_raw():
    """Random images and labels of a set."""

    def make(name: str, count: int, seed: int = 0) -> RawImages:
        generator = np.random.default_rng(seed)
        pixels = generator.integers(0, 256, (count, *SETS[name].shape), dtype=np.uint8)
        return RawImages(pixels, generator.integers(0, SETS[name].classes, count))

    return make


@pytest.fixture
def write_parquet():
    """A parquet file in the hub's layout, CIFAR-100 with both of its label columns."""

    def write(path: Path, name: str, raw: RawImages, image: str = "image", plain: bool = False, kind: str = "PNG"):
        cells = [encoded(pixels, kind) for pixels in raw.pixels]
        column = cells if plain else [{"bytes": cell, "path": None} for cell in cells]
        labels = {"label": raw.labels}
        if name == "cifar-100":
            labels = {"fine_label": raw.labels, "coarse_label": raw.labels // 5}
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({image: column, **labels}), path)

    return write


@pytest.fixture
def write_idx():
    """An IDX file of bytes."""

    def write(path: Path, array: np.ndarray, zipped: bool = False):
        header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        data = header + array.astype(np.uint8).tobytes()
        path.write_bytes(gzip.compress(data) if zipped else data)

    return write


@pytest.fixture
def write_cifar():
    """A CIFAR binary file; CIFAR-100 with a coarse label before the fine one."""

    def write(path: Path, name: str, raw: RawImages):
        labels = [raw.labels] if name == "cifar-10" else [raw.labels // 5, raw.labels]
        columns = [label[:, None].astype(np.uint8) for label in labels]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(np.concatenate([*columns, raw.pixels.reshape(len(raw.pixels), -1)], axis=1).tobytes())

    return write


@pytest.fixture
def real_data():
    """The folder of the real MNIST and CIFAR-10, where there is one."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("HOMESTRETCH_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no folder of real images: set HOMESTRETCH_DATA")
    return folder
