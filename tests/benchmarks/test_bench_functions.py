from __future__ import annotations

import pytest

from benchmarks import bench_functions, functions_report, results_io
from benchmarks.functions import BY_NAME
from benchmarks.functions_report import markdown_table, write_report
from benchmarks.peers import SOLVERS
from benchmarks.results_io import COLUMNS, Cache, read_table


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The benchmark on three problems, writing where nothing else lies."""
    problems = (BY_NAME["beale"].at(2), BY_NAME["linear-full-rank"].at(10, 10.0), BY_NAME["penalty-1"].at(100))
    monkeypatch.setattr(bench_functions, "quick_problems", lambda: problems)
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench_functions, "Cache", lambda name: Cache(name, tmp_path / "cache"))
    monkeypatch.setattr(functions_report, "DOCS", tmp_path / "docs")
    return tmp_path


def test_writes_a_tidy_table_with_its_environment_and_resumes(small, monkeypatch):
    bench_functions.main(["--quick"])
    rows = read_table(small / "results" / "functions-quick.tsv")
    assert len(rows) == 3 * len(SOLVERS)
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert {row["status"] for row in rows} <= {"solved", "stopped", "budget", "time", "failed"}
    solved = [row for row in rows if row["solved"] == "1"]
    assert len(solved) > len(rows) / 2
    assert all(0 < float(row["cost_to_solve"]) <= float(row["gradient_equivalents"]) + 1e-3 for row in solved)
    assert (small / "results" / "functions-quick.env.json").exists()

    def no_run(*_):
        raise AssertionError("a cached run was made again")

    monkeypatch.setattr(bench_functions, "solve", no_run)
    bench_functions.main(["--quick"])
    assert read_table(small / "results" / "functions-quick.tsv") == rows

    write_report(small / "results" / "functions-quick.tsv", small / "docs")
    page = (small / "docs" / "functions-quick.md").read_text()
    assert all(solver.name in page for solver in SOLVERS)
    assert "penalty-1 100 1x" in page
    assert (small / "docs" / "functions-quick-profile.png").stat().st_size > 1000


def test_chosen_solvers_leave_the_table_alone(small, capsys):
    bench_functions.main(["--quick", "--solvers", "scipy/CG", "torch"])
    printed = capsys.readouterr().out
    assert "scipy/CG" in printed
    assert "torch/LBFGS" in printed
    assert not (small / "results").exists()


def test_unknown_solver_is_named():
    with pytest.raises(SystemExit, match="no such solver: nope"):
        bench_functions.main(["--quick", "--solvers", "nope"])


def test_markdown_table():
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
