from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import bench_overhead, overhead_report, results_io
from benchmarks.overhead import (
    CASES,
    LiveMemory,
    full_pass,
    iteration_overhead,
    mini_batches,
    pairs_read,
    pass_memory,
    throughput,
    vectors_kept,
)
from benchmarks.results_io import COLUMNS, Cache, read_table

SMALL = replace(CASES["dense-5e4"], samples=64, iterations=2)


@pytest.mark.parametrize("method", ["ConjugateGradient", "LBFGS"])
def test_an_iteration_takes_longer_than_its_evaluations(method):
    found = iteration_overhead(SMALL, method, 0)
    assert found["value"] > 0.0
    assert found["evaluations"] >= 1.0
    assert found["seconds"] > 0.0


@pytest.mark.parametrize("measure", [full_pass, mini_batches])
def test_ours_is_timed_beside_the_bare_loop(measure):
    found = measure(SMALL, 0, 1)
    assert found["value"] == pytest.approx(found["seconds"] / found["bare_seconds"] - 1.0)
    assert min(found["seconds"], found["bare_seconds"]) > 0.0


def test_what_ours_takes_longer_by_is_the_median_of_the_turns_after_the_first(monkeypatch):
    now, ours, bare = [0.0], iter([9.0, 3.0, 2.5, 8.0]), iter([1.0, 2.0, 2.0, 4.0])
    monkeypatch.setattr(throughput, "time", SimpleNamespace(process_time=lambda: now[0]))

    def take(seconds):
        now[0] += next(seconds)

    found = throughput._in_turn(lambda: take(ours), lambda: take(bare), 3)
    assert found == {"value": 0.5, "seconds": 3.0, "bare_seconds": 2.0}


@pytest.mark.parametrize(("preconditioned", "vectors"), [(False, 3.0), (True, 4.0)])
def test_what_conjugate_gradients_keep(preconditioned, vectors):
    found = vectors_kept(preconditioned)
    assert found["value"] == pytest.approx(vectors, abs=0.01)
    assert found["most"] <= vectors + 1.01


def test_reading_the_pairs_takes_time_in_proportion_to_them():
    found = pairs_read(replace(CASES["dense-5e4"], samples=64, iterations=6), 0)
    assert found["value"] == pytest.approx(found["reading_ms"] / found["evaluation_ms"], rel=0.5)
    parameters = sum(p.numel() for p in CASES["dense-5e4"].build(0, 1)[0].parameters())
    read = 2 * 100 * 4 * parameters  # bytes: twice 100 float32 vectors
    assert found["gigabytes_per_second"] == pytest.approx(read / found["reading_ms"] * 1e-6)


def test_a_pass_takes_no_more_memory_over_more_data():
    assert pass_memory(4000)["value"] <= 1.01 * pass_memory(2000)["value"]


def test_live_memory_counts_storages_once_and_forgets_them():
    outside = torch.zeros(100)
    with LiveMemory() as memory:
        view = outside[:50]
        made = torch.zeros(10, dtype=torch.float64)
        again = made.view(2, 5)
        assert memory.now == 80
        del made, view
        assert memory.now == 80
        del again
        assert (memory.now, memory.peak) == (0, 80)


def test_writes_a_tidy_table_resumes_and_reports(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_overhead, "CASES", {**CASES, "poisson-2d": SMALL, "dense-5e4": SMALL})
    monkeypatch.setattr(results_io, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_overhead, "Cache", lambda name: Cache(name, tmp_path))
    monkeypatch.setattr(overhead_report, "DOCS", tmp_path)
    bench_overhead.main(["--quick"])
    rows = read_table(tmp_path / "overhead-quick.tsv")
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert {row["measure"] for row in rows} == {"iteration", "pairs read", "pass", "epoch", "vectors", "pass memory"}
    monkeypatch.setattr(bench_overhead, "_timed", lambda _: pytest.fail("a cached run was made again"))
    bench_overhead.main(["--quick"])
    assert read_table(tmp_path / "overhead-quick.tsv") == rows
    overhead_report.write_report(tmp_path / "overhead-quick.tsv", tmp_path)
    page = (tmp_path / "overhead-quick.md").read_text()
    assert "3.00 vectors (target 3)" in page
    assert "| 30% |" in page or "| 3% |" in page
    assert "least share" in page
