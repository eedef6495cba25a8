from __future__ import annotations

import sys
import types

import numpy as np
import pyarrow as pa
import pytest

from homestretch.errors import DataError
from homestretch.paper.data.hub import read_hub
from homestretch.paper.data.raw import SETS


class Rows:
    """What the library hands over, as far as it is used: columns, a cast that stops decoding, rows as a table."""

    def __init__(self, table: pa.Table):
        self.table, self.column_names, self.raw = table, table.column_names, False

    def cast_column(self, column: str, feature: dict) -> Rows:
        assert column in self.column_names
        self.raw = feature == {"decode": False}
        return self

    def with_format(self, kind: str) -> Rows:
        assert kind == "arrow"
        assert self.raw, "images would be decoded by someone else"
        return self

    def __getitem__(self, rows: slice) -> pa.Table:
        assert rows == slice(None)
        return self.table


def library(load) -> types.ModuleType:
    module = types.ModuleType("datasets")
    module.Image = lambda **options: options
    module.load_dataset = load
    return module


@pytest.mark.parametrize(
    ("name", "hub", "image", "label"),
    [
        ("mnist", "ylecun/mnist", "image", "label"),
        ("cifar-10", "uoft-cs/cifar10", "img", "label"),
        ("cifar-100", "uoft-cs/cifar100", "img", "fine_label"),
    ],
)
def test_a_set_is_asked_for_by_its_hub_name(monkeypatch, make_raw, encode, name, hub, image, label):
    raw, asked = make_raw(name, 3), []

    def load(path: str, split: str) -> Rows:
        asked.append((path, split))
        cells = [{"bytes": encode(pixels), "path": None} for pixels in raw.pixels]
        return Rows(pa.table({image: cells, label: raw.labels}))

    monkeypatch.setitem(sys.modules, "datasets", library(load))
    training, validation = read_hub(SETS[name], None, 3)
    assert asked == [(hub, "train"), (hub, "test[:3]")]
    for read in (training, validation):
        assert np.array_equal(read.pixels, raw.pixels)
        assert np.array_equal(read.labels, raw.labels)


def test_a_hub_out_of_reach_is_said_so(monkeypatch):
    def load(path: str, split: str):
        raise ConnectionError("no route\nmore")

    monkeypatch.setitem(sys.modules, "datasets", library(load))
    with pytest.raises(
        DataError, match=r"ylecun/mnist \(train\): could not be fetched \(no route\).*--data-dir.*HOMESTRETCH_DATA"
    ):
        read_hub(SETS["mnist"], None, None)


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"homestretch\[hub\].*--data-dir.*HOMESTRETCH_DATA"):
        read_hub(SETS["mnist"], None, None)
