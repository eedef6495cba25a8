from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.errors import CheckpointError
from homestretch.history import EpochRecord, EventRecord
from homestretch.paper.table.traces import read_histories, read_traces, write_traces


def test_the_course_of_every_run_is_read_back(tiny_table, tmp_path):
    histories = read_histories(tiny_table)
    assert {key[3] for key in histories} == {"adam", "golden-30", "lbfgs"}
    back = read_traces(write_traces(histories, tmp_path / "new" / "epochs.parquet"))
    assert list(back) == list(histories)
    for key, history in histories.items():
        plain = [replace(record, metrics={}) for record in history.of(EpochRecord)]
        assert back[key].of(EpochRecord) == plain
        swaps = [event.epoch for event in history.of(EventRecord) if event.name == "swap"]
        assert [event.epoch for event in back[key].of(EventRecord)] == swaps == ([] if key[3] == "adam" else [3])


def test_no_traces_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="epochs"):
        read_traces(tmp_path / "epochs.parquet")
