from __future__ import annotations

import json
import math

import pytest

from benchmarks import results_io
from benchmarks.results_io import (
    COLUMNS,
    Cache,
    environment,
    fingerprint,
    is_quick,
    read_table,
    table_path,
    write_environment,
    write_table,
)


def test_cache_runs_once_and_resumes(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"loss": 0.1 + 0.2, "trace": [[1.0, math.inf]]}

    first = Cache("bench", tmp_path).run({"problem": "p", "seed": 1}, compute)
    resumed = Cache("bench", tmp_path)
    assert resumed.run({"seed": 1, "problem": "p"}, compute) == first
    assert {"problem": "p", "seed": 1} in resumed
    assert {"problem": "p", "seed": 2} not in resumed
    resumed.run({"problem": "p", "seed": 2}, compute)
    assert (len(calls), len(resumed)) == (2, 2)


def test_cache_survives_a_line_cut_short(tmp_path):
    cache = Cache("bench", tmp_path)
    cache.run({"seed": 1}, lambda: {"loss": 1.0})
    with cache.path.open("a") as file:
        file.write('{"key": "{\\"seed\\": 2')
    resumed = Cache("bench", tmp_path)
    resumed.run({"seed": 3}, lambda: {"loss": 3.0})
    again = Cache("bench", tmp_path)
    assert [{"seed": k} in again for k in (1, 2, 3)] == [True, False, True]


def test_failed_runs_are_not_kept(tmp_path):
    cache = Cache("bench", tmp_path)
    with pytest.raises(ZeroDivisionError):
        cache.run({"seed": 1}, lambda: {"loss": 1 / 0})
    assert {"seed": 1} not in cache


def test_table_round_trip(tmp_path):
    path = tmp_path / "deep" / "t.tsv"
    rows = [{"problem": "p", "loss": 1 / 3, "status": "a\tb\nc", "solved": True, "size": 10}, {"error": None}]
    write_table(path, rows, (*COLUMNS, "solved"))
    first, second = read_table(path)
    assert tuple(first) == (*COLUMNS, "solved")
    assert (first["loss"], first["status"], first["solved"], first["size"]) == ("0.3333333333", "a b c", "1", "10")
    assert set(second.values()) == {""}
    assert [p.name for p in path.parent.iterdir()] == ["t.tsv"]


def test_missing_table_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the benchmark"):
        read_table(tmp_path / "t.tsv")


def test_environment_names_versions_and_processor(tmp_path):
    known = environment(["scipy", "no-such-library"])
    assert known["versions"]["no-such-library"] == "absent"
    assert {"torch", "numpy", "scipy"} <= set(known["versions"])
    assert known["processor"]
    write_environment(tmp_path / "t.tsv", ["scipy"], budget=3)
    assert json.loads((tmp_path / "t.env.json").read_text())["budget"] == 3


def test_fingerprint_follows_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    (tmp_path / "b.py").write_text("2")
    before = fingerprint(tmp_path / "a", tmp_path / "b.py")
    assert before == fingerprint(tmp_path / "a", tmp_path / "b.py")
    (tmp_path / "a" / "notes.txt").write_text("no code")
    assert before == fingerprint(tmp_path / "a", tmp_path / "b.py")
    (tmp_path / "b.py").write_text("3")
    assert before != fingerprint(tmp_path / "a", tmp_path / "b.py")


@pytest.mark.parametrize(("value", "quick"), [("1", True), ("0", False), ("", False), (None, False)])
def test_quick_by_environment(monkeypatch, value, quick):
    monkeypatch.delenv("QUICK", raising=False)
    if value is not None:
        monkeypatch.setenv("QUICK", value)
    assert is_quick() is quick


def test_table_path(monkeypatch, tmp_path):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path)
    assert table_path("x") == tmp_path / "x.tsv"
    assert table_path("x", quick=True) == tmp_path / "x-quick.tsv"
