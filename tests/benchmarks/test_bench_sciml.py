"""The driver on a tiny problem: table, traces, page, resumption; and how traces are read."""

from __future__ import annotations

import math

import pytest

from benchmarks import bench_sciml, results_io, sciml, sciml_report
from benchmarks.results_io import COLUMNS, Cache, read_table, write_table
from benchmarks.sciml import Zoo
from benchmarks.sciml.reading import at_iteration, error_at, median_curve, reached, read_traces
from benchmarks.sciml.trace import Sample
from benchmarks.sciml_report import write_report

METHODS = ["homestretch/auto", "homestretch/LBFGS", "torch/LBFGS", "scipy/L-BFGS-B"]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The benchmark on a small fit, writing where nothing else lies."""
    monkeypatch.setitem(sciml.PROBLEMS, "zoo-sin-64", lambda seed: Zoo(seed, "sin", 6, points=60))
    monkeypatch.setattr(bench_sciml, "QUICK_PROBLEMS", ("zoo-sin-64",))
    monkeypatch.setattr(bench_sciml, "QUICK", bench_sciml.Limits(seconds=20.0, iterations=40))
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results_io, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bench_sciml, "Cache", lambda name: Cache(name, tmp_path / "cache"))
    known = bench_sciml.chosen(METHODS)
    monkeypatch.setattr(bench_sciml, "METHODS", tuple(known[:2]))
    monkeypatch.setattr(bench_sciml, "PEERS", tuple(known[2:]))
    return tmp_path


def test_table_traces_page_and_resumption(small, monkeypatch) -> None:
    bench_sciml.main(["--quick"])
    table = small / "results" / "sciml-quick.tsv"
    rows = read_table(table)
    assert [f"{row['library']}/{row['method']}" for row in rows] == METHODS
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert all(0.0 < float(row["error"]) < float(row["start_error"]) for row in rows)
    assert {row["iterations"] for row in rows} == {"40"}
    assert rows[0]["detail"].startswith("LevenbergMarquardt: 60 residuals")
    traces = read_traces(table.with_name("sciml-quick-trace.parquet"))
    assert set(traces) == {("zoo-sin-64", method, 10) for method in METHODS}

    def no_run(*_):
        raise AssertionError("a cached run was made again")

    monkeypatch.setattr(bench_sciml, "measure", no_run)
    bench_sciml.main(["--quick"])
    assert read_table(table) == rows
    bench_sciml.main(["--quick", "--table", "--methods", "torch"])
    assert len(read_table(table)) == 1

    bench_sciml.main(["--quick", "--table"])
    write_report(table, small / "docs")
    page = (small / "docs" / "sciml-quick.md").read_text()
    assert all(method in page for method in METHODS)
    assert "burgers: not run" in page


def test_a_selection_leaves_the_table_alone(small, capsys) -> None:
    bench_sciml.main(["--quick", "--methods", "torch/LBFGS", "--seeds", "11"])
    assert "zoo-sin-64 11 torch/LBFGS: error" in capsys.readouterr().out
    assert not (small / "results").exists()


def test_unknown_method_is_named() -> None:
    with pytest.raises(SystemExit, match="no such method: nope"):
        bench_sciml.main(["--quick", "--methods", "nope"])


def test_dense_peers_are_left_out_where_they_are_too_large() -> None:
    names = {job.method.method for job in bench_sciml.jobs(["convection"], bench_sciml.chosen(None), [0], False)}
    assert "SSBroyden" in names
    assert not names & {"BFGS", "bfgs", "LevenbergMarquardt"}


def test_what_a_target_is_about_runs_longer() -> None:
    seconds = {
        job.method.method: job.limits.seconds for job in bench_sciml.jobs(["burgers"], bench_sciml.chosen(None), [0], False)
    }
    assert seconds["auto"] == seconds["SSBroyden"] == 600.0
    assert {seconds[method] for method in ("LBFGS", "bfgs", "adam-cosine")} == {60.0}


@pytest.mark.parametrize(("problem", "has_stages"), [("convection", True), ("poisson-2d", False)])
def test_continuation_is_for_problems_with_stages(problem, has_stages) -> None:
    names = {job.method.method for job in bench_sciml.jobs([problem], bench_sciml.chosen(None), [0], False)}
    assert "auto" in names
    assert ("auto-continuation" in names) == has_stages


def test_runs_of_another_machine_are_kept(small) -> None:
    table = small / "results" / "sciml.tsv"
    table.parent.mkdir(parents=True)
    trace = [[0.1, 0.1, 1.0, 1.0, 2.0, 3.0, 4.0]]
    labels = {"seed": 10, "library": "homestretch", "method": "auto", "trace": trace}
    old, new = ({"problem": name, "error": error, **labels} for name, error in (("poisson-2d", 0.5), ("zoo-sin-64", 0.25)))
    write_table(table, [old, {**new, "error": 0.75}], (*COLUMNS, *bench_sciml.EXTRA_COLUMNS))
    bench_sciml.write_traces(table, [old, new])
    rows = bench_sciml.with_others(table, [new])
    assert [(row["problem"], float(row["error"])) for row in rows] == [("zoo-sin-64", 0.25), ("poisson-2d", 0.5)]
    assert rows[1]["trace"][0] == pytest.approx(trace[0])
    assert rows[1]["processor"] == ""
    table.with_suffix(".env.json").write_text('{"processor": "abacus"}')
    without = [column for column in (*COLUMNS, *bench_sciml.EXTRA_COLUMNS) if column != "processor"]
    write_table(table, [old], without)
    assert bench_sciml.with_others(table, [new])[1]["processor"] == "abacus"
    assert bench_sciml.with_others(table.with_name("none.tsv"), [new]) == [new]


def test_verdicts_say_reached_and_not_reached(small) -> None:
    def row(problem: str, seed: int, error: float) -> dict[str, str]:
        return {"problem": problem, "seed": str(seed), "library": "homestretch", "method": "auto", "error": str(error)}

    rows = [row("poisson-2d", 0, 1e-9), row("poisson-2d", 1, 5e-8), row("convection", 0, 1e-4), row("convection", 1, 1e-2)]
    traces = {(r["problem"], "homestretch/auto", int(r["seed"])): trace(float(r["error"])) for r in rows}
    poisson, convection, burgers, peer = sciml_report.verdicts(rows, traces)
    assert poisson.startswith("- Reached. poisson-2d: worst of 2 seeds 5.0e-08")
    assert convection.startswith("- **Not reached**. convection: worst of 2 seeds 1.0e-02")
    assert convection.endswith("median time to it never.")
    assert burgers == "- burgers: not run."
    assert "not run on a common seed" in peer


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (["a", "a"], ""),
        (["a", "b", "b"], "were made by 2 versions of the code (column `version`). "),
        (["a", "b", "", ""], "were made by at least 3 versions of the code (column `version`, empty in 2 of 4). "),
        (["", ""], "do not name the version of the code that made them (column `version`). "),
    ],
)
def test_rows_by_several_versions_of_the_code_are_told(versions, said) -> None:
    rows = [{"library": "homestretch", "version": version} for version in versions] + [{"library": "scipy", "version": "1.0"}]
    assert sciml_report.codes(rows) == (said and f"Its rows of homestretch {said}")


def test_errors_stand_at_a_common_time_and_processors_by_problem(tmp_path) -> None:
    def row(problem: str, method: str, limit: str, processor: str) -> dict[str, str]:
        labels = {"problem": problem, "seed": "0", "library": "ours", "method": method, "error": "1e-7", "limit_seconds": limit}
        numbers = dict.fromkeys(("gradient_equivalents", "iterations", "cpu_seconds", "seconds"), "3")
        return {**labels, **numbers, "status": "time", "processor": processor}

    rows = [row("burgers", "long", "600", "abacus"), row("burgers", "short", "1.5", "abacus"), row("zoo", "long", "5", "quipu")]
    rows.append(row("burgers", "late", "600", "abacus"))
    traces = {("burgers", f"ours/{method}", 0): trace(1e-7) for method in ("long", "short")}
    traces["burgers", "ours/late", 0] = trace(1e-7)[2:]
    header, _, *lines = sciml_report.problem_table(rows, traces, "burgers").splitlines()
    place = [cell.strip() for cell in header.split("|")].index("after 2 s")
    cells = {line.split("|")[1].strip(): line.split("|")[place].strip() for line in lines}
    assert cells == {"ours/long": "1.0e-02", "ours/short": "1.0e-07", "ours/late": "-"}  # the short run ended there
    assert sciml_report.common_time(rows[:1]) is None
    table = tmp_path / "t.tsv"
    table.with_suffix(".env.json").write_text('{"processor": "quipu", "threads": 1, "python": "3", "versions": {}}')
    assert "Processor: abacus (burgers); quipu (zoo); 1 thread" in sciml_report.environment_of(table, rows)
    assert "Processor: quipu; 1 thread" in sciml_report.environment_of(table, rows[2:3])


def trace(last: float) -> list[Sample]:
    """Ever lower errors, the one before the last with the lowest held-out loss but one."""
    errors, held_out = (1.0, 1e-2, 1e-5, last), (1.0, 0.5, 2.0, 0.1)
    return [
        Sample(2.0 * k, float(k), 10.0 * k, 100 * k, 0.0, h, e) for k, (e, h) in enumerate(zip(errors, held_out, strict=True))
    ]


def test_traces_are_read_without_knowing_the_error() -> None:
    samples = trace(1e-7)
    assert error_at(samples, 0.5) == 1.0
    assert error_at(samples, 2.5) == 1e-2  # 1e-5 was there, but its held-out loss is higher
    assert error_at(samples, 9.0) == 1e-7
    assert math.isnan(error_at(samples[1:], 0.5))
    assert reached(samples, 1e-4) == 3.0
    assert reached(samples, 1e-4, "gradient_equivalents") == 30.0
    assert reached(samples, 1e-9) == math.inf
    assert at_iteration(samples, 150) == pytest.approx(1.5)
    grid, errors = median_curve([samples[1:], trace(1e-6)[1:], trace(1e-3)[1:]], "cpu_seconds")
    assert (grid[0], grid[-1]) == pytest.approx((1.0, 3.0))
    assert (errors[0], errors[-1]) == (1e-2, 1e-6)
    falling = [[s._replace(loss=f * 0.1**k) for k, s in enumerate(samples)] for f in (1.0, 2.0, 3.0)]
    _, losses = median_curve(falling, "cpu_seconds", "loss")
    assert (losses[0], losses[-1]) == pytest.approx((2.0, 2e-3))
