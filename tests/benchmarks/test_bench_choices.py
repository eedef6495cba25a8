"""Every case runs, its page names what `auto` picks, and float32 problems are float32 throughout."""

from __future__ import annotations

import pytest
import torch

from benchmarks import bench_choices, results_io
from benchmarks.bench_choices import write_page
from benchmarks.choices import CASES, Case, in_single
from benchmarks.choices.digits import Digits
from benchmarks.results_io import COLUMNS, Cache, read_table
from benchmarks.sciml import Poisson2D

SMALL = (
    Case("tiny", "How many?", lambda seed: Poisson2D(seed, width=5, side=6)),
    Case("tiny, few", "How many?", lambda seed: Poisson2D(seed, width=5, side=2)),
    Case("tiny digits", "What if there are no residuals?", lambda seed: Digits(seed, hidden=3), CASES[-2].methods),
)


@pytest.mark.filterwarnings("ignore::homestretch.errors.OverfitWarning")  # one of the cases is there for it
def test_table_and_page(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(bench_choices, "CASES", SMALL)
    monkeypatch.setattr(bench_choices, "Cache", lambda name: Cache(name, tmp_path / "cache"))
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results_io, "CACHE", tmp_path / "cache")
    bench_choices.main(["--quick"])
    table = tmp_path / "results" / "choices-quick.tsv"
    rows = read_table(table)
    assert len(rows) == 3 + 3 + 2
    assert tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    picked = {row["problem"]: row["picked"].split(":")[0] for row in rows}
    assert picked == {"tiny": "LevenbergMarquardt", "tiny, few": "SelfScaledBroyden", "tiny digits": "SelfScaledBroyden"}
    write_page(table, tmp_path / "choosing.md")
    page = (tmp_path / "choosing.md").read_text()
    assert page.count("### ") == 2
    assert page.count("**") >= 6  # the lowest median of each case is bold
    assert "- tiny: `auto` picks LevenbergMarquardt: 60 residuals for 21 float64 parameters" in page


@pytest.mark.parametrize("make", [lambda: Poisson2D(0, width=5, side=4), lambda: Digits(0, hidden=3)])
def test_single_precision_reaches_every_tensor(make) -> None:
    wide, short = make(), in_single(make())
    residuals = short.residuals()
    assert {r.dtype for r in residuals.values()} == {torch.float32}
    assert short.loss().item() == pytest.approx(wide.loss().item(), rel=1e-4)
    assert short.held_out_loss() == pytest.approx(wide.held_out_loss(), rel=1e-4)
    assert short.error() >= 0.0


@pytest.mark.filterwarnings("ignore::homestretch.errors.OverfitWarning")
def test_every_rule_has_a_case_that_auto_decides_by_it() -> None:
    cheap = [case for case in CASES if "8,001" not in case.name]
    names = {case.name: bench_choices.picked(case) for case in cheap}
    assert names["waves, 49 parameters, 3.0 residuals each"].startswith("LevenbergMarquardt")
    assert "fewer than 1 a parameter" in names["waves, 49 parameters, 0.7 residuals each"]
    assert "361 parameters are more than 100" in names["saddle, 361 parameters"]
    assert "backward pass for each of its columns" in names["poisson-2d with 97 parameters, no points given"]
    assert "float32" in names["poisson-2d in float32"]
    assert "Objective offers no residuals" in names["digits in float64 (classification, an Objective)"]
