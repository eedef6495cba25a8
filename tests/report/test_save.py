from __future__ import annotations

import csv
import math

import pytest

from homestretch.report import Drawing, gradient_norm_by_epoch, save


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def drawing(swapped):
    return gradient_norm_by_epoch(swapped)


def test_figure_and_data_lie_side_by_side(drawing, tmp_path):
    written = save(drawing, tmp_path / "below", "norm")
    assert [p.name for p in written] == ["norm.png", "norm.pdf", "norm.csv"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")


def test_the_data_are_those_of_the_records_bit_for_bit(drawing, tmp_path):
    *_, data = save(drawing, str(tmp_path), "norm")
    for stored, row in zip(read(data), drawing.rows, strict=True):
        assert {k: type(row[k])(v) for k, v in stored.items()} == row


def test_the_same_drawing_gives_the_same_bytes(drawing, tmp_path):
    first, second = (save(drawing, tmp_path / name, "norm") for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


@pytest.mark.parametrize("rows", [[], [{"a": math.nan, "b": math.inf}], [{"a": 1}, {"a": 2, "b": "x,y\n"}]])
def test_any_rows_are_written(drawing, tmp_path, rows):
    *_, data = save(Drawing(drawing.figure, rows), tmp_path, "rows")
    assert [{k: v for k, v in stored.items() if v} for stored in read(data)] == [
        {k: str(v) for k, v in row.items()} for row in rows
    ]
