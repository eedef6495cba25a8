from __future__ import annotations

import json

import pytest

from benchmarks import bench_paper, results_io
from benchmarks.results_io import COLUMNS, read_table
from homestretch.paper.data import DATA_VARIABLE
from homestretch.paper.table.cells import cells
from homestretch.paper.table.outcome import read_table as read_outcomes
from homestretch.paper.table.traces import read_traces


def test_the_benchmark_writes_tidy_rows_and_runs_nothing_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    few = cells(["digits"], ["vit-nomlp-wkewq-wvwo"], ["golden-30"], [0], "tiny")
    monkeypatch.setattr(bench_paper, "todo", lambda quick, size: few)
    bench_paper.main(["--quick", "--out", str(tmp_path / "cells")])
    table = tmp_path / "results" / "paper-quick.tsv"
    rows = read_table(table)
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert [(row["library"], row["method"], row["accounting"]) for row in rows] == [
        ("torch", "adam", "cost"),
        ("homestretch", "golden-30", "cost"),
        ("homestretch", "golden-30", "printed"),
    ]
    assert {row["problem"] for row in rows} == {"digits/vit-nomlp-wkewq-wvwo"}
    outcomes = read_outcomes(table.with_suffix(".parquet"))
    assert [f"{o.train_loss:.10g}" for o in outcomes] == [row["loss"] for row in rows]
    assert {key[3] for key in read_traces(table.with_name("paper-quick-epochs.parquet"))} == {"adam", "golden-30"}
    assert "torch" in json.loads(table.with_suffix(".env.json").read_text())["versions"]
    bench_paper.main(["--quick", "--out", str(tmp_path / "cells")])
    assert capsys.readouterr().out.count("1 of 1 cells are finished, 0 to run") == 2
    assert read_table(table) == rows


def test_gathering_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    bench_paper.main(["--gather", "--out", str(tmp_path / "cells")])
    assert "0 runs" in capsys.readouterr().out


def test_runs_of_another_machine_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(
        bench_paper, "todo", lambda quick, size: cells(["digits"], ["vit-nomlp-wkewq-wvwo"], ["adam"], [0], "tiny")
    )
    bench_paper.main(["--quick", "--out", str(tmp_path / "cells")])
    table = tmp_path / "results" / "paper-quick.tsv"
    first, courses = read_table(table), read_traces(table.with_name("paper-quick-epochs.parquet"))
    bench_paper.main(["--quick", "--gather", "--out", str(tmp_path / "elsewhere")])
    assert read_table(table) == first
    assert read_traces(table.with_name("paper-quick-epochs.parquet")).keys() == courses.keys()


def test_a_failure_ends_in_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench_paper, "run_cells", lambda part, *_, **__: list(part))
    with pytest.raises(SystemExit):
        bench_paper.main(["--quick", "--out", str(tmp_path / "cells")])


def test_images_that_are_not_there_are_said_before_any_cell_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        bench_paper.main(["--out", str(tmp_path / "cells")])
    assert "begins" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flags", "size"), [((), 64), (("--micro-batch", "512"), 512)])
def test_pieces_are_small_on_a_cpu_unless_asked_for(tmp_path, monkeypatch, flags, size):
    machines = []
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench_paper, "_run", lambda cells, machine, *_: machines.append(machine) or [])
    bench_paper.main(["--quick", "--out", str(tmp_path / "cells"), *flags])
    assert [machine.micro_batch for machine in machines] == [size]


def test_the_benchmark_is_the_promised_one():
    problems = {(cell.set, cell.model) for cell in bench_paper.todo(False)}
    assert len(problems) == 11
    assert {cell.size for cell in bench_paper.todo(False) if cell.set != "python-docs"} == {"tenth"}
    assert {(cell.set, cell.size) for cell in bench_paper.todo(False, "full")} == {("mnist", "full"), ("cifar-10", "full")}
