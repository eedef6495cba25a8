from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from benchmarks import bench_passes, results_io
from benchmarks.results_io import read_table


def test_the_benchmark_times_every_pass_of_every_model(tmp_path, monkeypatch):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path)
    flags = ["--models", "vit-nomlp-wkewq-wvwo", "--ways", "eager", "bf16", "--samples", "64", "--repeats", "1"]
    bench_passes.main(flags)
    rows = read_table(tmp_path / "passes-cpu.tsv")
    whats = ["forward", "gradient", "hessian product", "epoch of mini-batches"]
    assert [(row["way"], row["what"]) for row in rows] == [
        *(("eager", what) for what in whats),
        *(("bf16", what) for what in whats if what != "hessian product"),
    ]
    assert all(float(row["seconds"]) > 0.0 and not row["status"] for row in rows)
    assert float(rows[3]["bare_seconds"]) > 0.0
    eager, half = float(rows[0]["loss"]), float(rows[-1]["loss"])
    assert half == pytest.approx(eager, rel=1e-2)
    assert half != eager


def test_a_way_that_cannot_be_gone_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("too little memory\nfor this")

    monkeypatch.setattr(results_io, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_passes, "measure", refuse)
    bench_passes.main(["--models", "vgg5-max-relu", "--ways", "eager"])
    assert [row["status"] for row in read_table(tmp_path / "passes-cpu.tsv")] == ["OutOfMemoryError: too little memory"]


def test_a_time_is_the_median_and_the_first_call_does_not_count(monkeypatch):
    now, takes = [0.0], iter([9.0, 1.0, 4.0, 2.0])
    monkeypatch.setattr(bench_passes, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def take():
        now[0] += next(takes)

    assert bench_passes.timed(take, 3, "cpu") == 2.0


def test_the_size_of_a_piece_is_chosen_and_changes_no_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(results_io, "RESULTS", tmp_path)
    losses = []
    for size in ("16", "48"):
        flags = ["--models", "vgg5-max-relu", "--ways", "eager", "--samples", "48", "--repeats", "1", "--micro-batch", size]
        bench_passes.main(flags)
        rows = read_table(tmp_path / "passes-cpu.tsv")
        assert {row["micro_batch"] for row in rows if row["what"] != "epoch of mini-batches"} == {size}
        losses.append(float(rows[0]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
