from __future__ import annotations

import numpy as np
import pytest

from homestretch.errors import DataError
from homestretch.paper.data.cifar_binary import read_cifar_binary
from homestretch.paper.data.raw import SETS


@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
@pytest.mark.parametrize(("limit", "expected"), [(None, 7), (100, 7), (5, 5), (4, 4), (2, 2)])
def test_records_come_back_in_order_up_to_the_limit(tmp_path, make_raw, write_cifar, name, limit, expected):
    pieces = [make_raw(name, 4), make_raw(name, 3, seed=1)]
    paths = [tmp_path / "a.bin", tmp_path / "b.bin"]
    for path, piece in zip(paths, pieces, strict=True):
        write_cifar(path, name, piece)
    read = read_cifar_binary(paths, SETS[name], limit)
    assert np.array_equal(read.pixels, np.concatenate([piece.pixels for piece in pieces])[:expected])
    assert read.labels.tolist() == [*pieces[0].labels, *pieces[1].labels][:expected]
    assert read.labels.dtype == np.int64


@pytest.mark.parametrize(("name", "size"), [("cifar-10", 3073), ("cifar-100", 3074)])
@pytest.mark.parametrize("wrong", [0, 1, -1])
def test_a_size_of_no_whole_records_is_refused(tmp_path, name, size, wrong):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(2 * size + wrong if wrong else 0))
    with pytest.raises(DataError, match=rf"a\.bin: .* no whole number of records of {size}"):
        read_cifar_binary([path], SETS[name])


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("cifar-10", [10], "label 10 in row 0"),
        ("cifar-100", [3, 100], "label 100 in row 0"),
        ("cifar-100", [20, 3], "a coarse label of 20"),
    ],
)
def test_labels_out_of_range_are_refused(tmp_path, name, labels, message):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(labels) + bytes(3072))
    with pytest.raises(DataError, match=rf"a\.bin: {message}"):
        read_cifar_binary([path], SETS[name])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.bin: cannot be read"):
        read_cifar_binary([tmp_path / "gone.bin"], SETS["cifar-10"])
