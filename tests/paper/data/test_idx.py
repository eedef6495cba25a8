from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from homestretch.errors import DataError
from homestretch.paper.data.idx import read_idx
from homestretch.paper.data.raw import SETS

MNIST = SETS["mnist"]


@pytest.fixture
def pair(tmp_path, make_raw, write_idx):
    """Four images and labels, written plainly."""
    raw = make_raw("mnist", 4)
    write_idx(tmp_path / "images", raw.pixels[:, 0])
    write_idx(tmp_path / "labels", raw.labels)
    return raw, tmp_path / "images", tmp_path / "labels"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("limit", [None, 3])
def test_images_and_labels_come_back(pair, write_idx, zipped, limit):
    raw, images, labels = pair
    write_idx(images, raw.pixels[:, 0], zipped)
    read = read_idx([images, labels], MNIST, limit)
    assert np.array_equal(read.pixels, raw.pixels[:limit])
    assert np.array_equal(read.labels, raw.labels[:limit])


def header(*sizes: int, magic: bytes = b"\0\0\x08\x03") -> bytes:
    return magic + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "not an IDX file"),
        (header(4, 28, 28, magic=b"\0\0\x0d\x03") + bytes(3136), "not an IDX file of bytes in 3 dimensions"),
        (header(4, magic=b"\0\0\x08\x01") + bytes(3136), "not an IDX file of bytes in 3 dimensions"),
        (b"PAR1" + bytes(4000), "it begins with b'PAR1'"),
        (header(4, 28, 27) + bytes(4 * 28 * 27), r"items are \(28, 27\), expected \(28, 28\)"),
        (header(4, 28, 28) + bytes(3135), "promises 3136 bytes of data, the file has only 3135"),
        (header(4, 28, 28) + bytes(3137), "promises 3136 bytes of data, the file has more"),
        (header(2**32 - 1, 28, 28) + bytes(3136), "promises 4294967295 items"),
        (header(3, 28, 28) + bytes(3 * 784), "4 labels, but images has 3 images"),
        (header(4, 28, 28) + bytes(10), "only 10"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_other_content_is_refused_by_name(pair, content, message, zipped):
    _, images, labels = pair
    images.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx([images, labels], MNIST)
    assert str(images.parent) in str(caught.value)


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: data[:60] + b"\xff" * 40 + data[100:]])
def test_damaged_compression_is_refused(pair, write_idx, damage):
    raw, images, labels = pair
    write_idx(images, raw.pixels[:, 0], zipped=True)
    images.write_bytes(damage(images.read_bytes()))
    with pytest.raises(DataError, match="images: cannot be read or unpacked"):
        read_idx([images, labels], MNIST)


def test_a_label_out_of_range_is_refused(pair, write_idx):
    _, images, labels = pair
    write_idx(labels, np.array([0, 1, 2, 77]))
    with pytest.raises(DataError, match="labels: label 77 in row 3"):
        read_idx([images, labels], MNIST)


def test_a_missing_file_is_named(pair):
    _, images, labels = pair
    labels.unlink()
    with pytest.raises(DataError, match="labels: cannot be read"):
        read_idx([images, labels], MNIST)
