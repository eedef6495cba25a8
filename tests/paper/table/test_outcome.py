from __future__ import annotations

import csv

import pytest

from homestretch.errors import CheckpointError
from homestretch.paper.table.outcome import OUTCOMES, collect, read_outcomes, read_table, write_outcomes, write_table


def test_outcomes_are_read_back(outcome, tmp_path):
    kept = [outcome(), outcome(accounting="printed", swap_epoch=90, validation_top5=0.5, train_loss=1 / 3)]
    place = tmp_path / "mnist" / "vit-nomlp" / "seed-0" / "adam"
    place.mkdir(parents=True)
    write_outcomes(place, kept)
    assert read_outcomes(place) == collect(tmp_path) == kept
    assert [path.name for path in place.iterdir()] == [OUTCOMES]


def test_a_cell_without_outcomes_is_not_finished(tmp_path):
    assert read_outcomes(tmp_path) == collect(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[", '[{"set": "mnist"}]'])
def test_damage_is_named(tmp_path, text):
    (tmp_path / OUTCOMES).write_text(text)
    with pytest.raises(CheckpointError, match=OUTCOMES):
        read_outcomes(tmp_path)


def test_the_table_is_read_back(outcome, tmp_path):
    kept = [outcome(reason="a, b\tc"), outcome(seed=1, swap_epoch=3)]
    parquet, tsv = write_table(kept, tmp_path / "new", "table")
    assert read_table(parquet) == kept
    with tsv.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert [row["swap_epoch"] for row in rows] == ["", "3"]
    assert rows[0]["reason"] == "a, b\tc"


def test_an_empty_table_is_a_table(tmp_path):
    assert read_table(write_table([], tmp_path, "table")[0]) == []


@pytest.mark.parametrize("damaged", [True, False])
def test_no_table_is_named(tmp_path, damaged):
    if damaged:
        (tmp_path / "table.parquet").write_text("no")
    with pytest.raises(CheckpointError, match=r"table\.parquet"):
        read_table(tmp_path / "table.parquet")
