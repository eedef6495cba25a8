from __future__ import annotations

import copy
import json
import math
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homestretch.errors import CheckpointError
from homestretch.history import (
    DecisionRecord,
    EpochRecord,
    EventRecord,
    History,
    IterationRecord,
    from_line,
    to_line,
)

numbers = st.floats(allow_nan=False)
extras = st.dictionaries(st.text(min_size=1, max_size=5), numbers, max_size=3)


def epoch(number=1, **changes):
    given = {
        "epoch": number,
        "phase": "first",
        "loss": 0.5 / number,
        "gradient_norm": 0.25,
        "gradient_norm_kind": "exact",
        "gradient_equivalents": float(number),
        "seconds": 0.1,
    }
    return EpochRecord(**{**given, **changes})


def iteration(number=1, **changes):
    given = dict.fromkeys(("loss", "gradient_norm", "step", "first_step", "slope", "cosine", "beta"), 0.5)
    given |= {"iteration": number, "forwards": 2, "gradients": 1, "search_status": "converged", "restart": "", "stop": ""}
    return IterationRecord(**{**given, "gradient_equivalents": 3.0, "seconds": 0.1, **changes})


RECORDS = (
    epoch(metrics={"validation_loss": 0.125}),
    iteration(beta=-math.inf, extra={"radius": 2.0}),
    DecisionRecord(epoch=1, swap=True, rule="literal-peak", reason='Ein "Grund",\nzwei Zeilen é', values={"maximum": 1.0}),
    EventRecord(epoch=1, name="swap", message="because"),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.kind)
def test_a_line_gives_the_record_back(record):
    line = to_line(record)
    assert "\n" not in line
    assert from_line(line) == record


@given(st.builds(epoch, number=st.integers(1, 10**9), loss=numbers, gradient_norm=numbers, seconds=numbers, metrics=extras))
def test_numbers_survive_bit_for_bit(record):
    assert from_line(to_line(record)) == record


def test_nan_survives():
    assert math.isnan(from_line(to_line(epoch(loss=math.nan))).loss)


def test_fields_of_a_later_version_are_ignored():
    row = json.loads(to_line(RECORDS[0])) | {"novelty": 1}
    assert from_line(json.dumps(row)) == RECORDS[0]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_file_holds_every_record_at_once_and_is_read_back(tmp_path, ending):
    path = tmp_path / "below" / "record.jsonl"
    history = History(path)
    for count, record in enumerate(RECORDS, 1):
        history.append(record)
        assert len(path.read_text().splitlines()) == count
    path.write_text(path.read_text().rstrip("\n") + ending)
    assert list(History.read(path)) == list(RECORDS)


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path, cut):
    path = tmp_path / "record.jsonl"
    whole, part = to_line(RECORDS[0]), to_line(RECORDS[1])[:cut]
    path.write_text(f"{whole}\n{part}")
    assert list(History.read(path)) == [RECORDS[0]]


@pytest.mark.parametrize(
    "line", ["{", "[1]", "3", "null", '"text"', "{}", '{"kind": "other"}', '{"kind": "event", "epoch": 1}']
)
def test_a_foreign_line_is_named(tmp_path, line):
    path = tmp_path / "record.jsonl"
    path.write_text(f"{to_line(RECORDS[0])}\n{line}\n{to_line(RECORDS[0])}\n")
    with pytest.raises(CheckpointError, match=r"record\.jsonl, line 2"):
        History.read(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "record.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"record\.jsonl"):
        History.read(path)


def test_of_last_and_slices():
    history = History()
    for record in (*RECORDS, epoch(2)):
        history.append(record)
    assert [r.epoch for r in history.of(EpochRecord)] == [1, 2]
    assert history.last(EpochRecord) == (4, epoch(2))
    assert history.last(IterationRecord)[0] == 1
    assert list(history[1:3]) == list(RECORDS[1:3])
    with pytest.raises(LookupError, match="no epoch record"):
        History().last(EpochRecord)


def test_rewinding_and_going_on_elsewhere(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    history = History(first)
    for number in range(1, 5):
        history.append(epoch(number))
    history.rewind(2)
    assert list(History.read(first)) == list(history) == [epoch(1), epoch(2)]
    history.continue_at(second)
    history.append(epoch(9))
    assert len(History.read(first)) == 2
    assert list(History.read(second)) == [epoch(1), epoch(2), epoch(9)]


def test_parquet_holds_the_rows(tmp_path):
    history = History()
    for record in (*RECORDS, epoch(2, metrics={"accuracy": 1.0})):
        history.append(record)
    assert [p.name for p in history.to_parquet(tmp_path)] == [f"{r.kind}.parquet" for r in RECORDS]
    for record in RECORDS:
        stored = pq.read_table(tmp_path / f"{record.kind}.parquet").to_pylist()
        expected = history.rows(type(record))
        assert [{k: v for k, v in row.items() if v is not None} for row in stored] == expected
    epochs = pq.read_table(tmp_path / "epoch.parquet").to_pylist()
    assert [row["accuracy"] for row in epochs] == [None, 1.0]


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor])
@pytest.mark.parametrize("on_disk", [True, False])
def test_numbers_of_numpy_and_torch_are_recorded_as_pythons(tmp_path, kind, on_disk):
    history = History(tmp_path / "record.jsonl" if on_disk else None)
    history.append(epoch(loss=kind(0.25), metrics={"accuracy": kind(0.5), "samples": 3}))
    history.append(iteration(extra={"radius": kind(2.0)}))
    history.append(EventRecord(epoch=1, name="swap", message="because", values={"exact_loss": kind(1.0)}))
    assert history[0] == epoch(loss=0.25, metrics={"accuracy": 0.5, "samples": 3})
    assert history[1].extra == {"radius": 2.0}
    assert {type(v) for v in (history[0].loss, *history[0].metrics.values(), *history[2].values.values())} == {float, int}
    if on_disk:
        assert list(History.read(tmp_path / "record.jsonl")) == list(history)
    assert history.to_parquet(tmp_path)


@pytest.mark.parametrize("value", ["high", None, torch.zeros(2)])
def test_what_is_no_number_is_refused_before_it_is_recorded(tmp_path, value):
    history = History(tmp_path / "record.jsonl")
    with pytest.raises(TypeError, match=r"metrics\['accuracy'\] must be a number, got (str|NoneType|Tensor)"):
        history.append(epoch(metrics={"accuracy": value}))
    assert len(history) == len(History.read(tmp_path / "record.jsonl")) == 0


def test_parquet_makes_its_folder(tmp_path):
    history = History()
    history.append(epoch())
    assert history.to_parquet(tmp_path / "a" / "b") == [tmp_path / "a" / "b" / "epoch.parquet"]
    assert pq.read_table(tmp_path / "a" / "b" / "epoch.parquet").num_rows == 1


def test_parquet_of_nothing_is_nothing(tmp_path):
    assert History().to_parquet(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_metric_never_hides_a_column_of_the_record():
    history = History()
    history.append(epoch(metrics={"loss": 7.0, "accuracy": 0.5}))
    (row,) = history.rows(EpochRecord)
    assert row["loss"] == 0.5
    assert row["metrics.loss"] == 7.0
    assert row["accuracy"] == 0.5


def test_a_record_that_cannot_be_written_anew_is_left_as_it_is(tmp_path, monkeypatch):
    history = History(tmp_path / "record.jsonl")
    for epoch in range(3):
        history.append(EventRecord(epoch=epoch, name="stop", message=""))
    known = (tmp_path / "record.jsonl").read_text()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    History.read(tmp_path / "record.jsonl").continue_at(tmp_path / "record.jsonl")  # nothing is cut, nothing written
    with pytest.raises(OSError, match="disk full"):
        history.rewind(1)
    assert (tmp_path / "record.jsonl").read_text() == known
    monkeypatch.undo()
    history.rewind(1)
    assert len(History.read(tmp_path / "record.jsonl")) == 1


def test_a_deep_copy_leaves_the_file_alone(tmp_path):
    history = History(tmp_path / "record.jsonl")
    history.append(epoch(1))
    copied = copy.deepcopy(history)
    copied.append(epoch(7))
    history.append(epoch(2))
    assert [r.epoch for r in copied] == [1, 7]
    assert [r.epoch for r in History.read(tmp_path / "record.jsonl")] == [r.epoch for r in history] == [1, 2]
