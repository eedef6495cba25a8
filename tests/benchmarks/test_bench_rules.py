from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss
from torch.optim import Adam

from benchmarks import bench_rules, results_io
from benchmarks.bench_rules import CURVE_COLUMNS, NORMS, RULES, adam_curve, replay
from benchmarks.results_io import Cache, read_table
from benchmarks.rules_report import findings, spread, swap_table, write_report
from homestretch import Objective, TwoPhase
from homestretch.paper.data import load_data, one_hot
from homestretch.paper.models import build_model
from homestretch.swap import LiteralPeak

PATTERN = [0.1, 0.08, 0.1, 0.2, 0.4, 0.7, 1.0, 1.0, 0.98, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2]


def curve(norms):
    return [
        {"epoch": epoch, "loss": 1.0 / epoch, "running-mean": norm, "exact": 2.0 * norm} for epoch, norm in enumerate(norms, 1)
    ]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two epochs of one seed at one batch size, written where nothing else lies."""
    monkeypatch.setattr(bench_rules, "QUICK_EPOCHS", 2)
    monkeypatch.setattr(bench_rules, "BATCHES", (512,))
    monkeypatch.setattr(results_io, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench_rules, "Cache", lambda name: Cache(name, tmp_path / "cache"))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    return tmp_path


@pytest.mark.parametrize("norm", NORMS)
def test_literal_rule_swaps_at_the_first_fall_and_the_guarded_one_after_the_peak(norm):
    literal, guarded = (replay(RULES[name](), curve(PATTERN), norm) for name in ("literal", "guarded"))
    assert literal["swap_epoch"] == 2
    assert guarded["swap_epoch"] > PATTERN.index(max(PATTERN)) + 1
    assert "maximum" in guarded["reason"]


def test_rule_that_never_fires_leaves_the_cells_empty():
    assert replay(LiteralPeak(), curve([0.1, 0.2, 0.3]), "exact") == {
        "swap_epoch": None,
        "swap_loss": None,
        "reason": "no swap",
    }


def test_watching_the_exact_norm_changes_nothing(monkeypatch):
    watched = adam_curve("softmax", 512, 0, 2)
    unwatched = []

    def without_metrics(*arguments, metrics, **options):
        optimizer = TwoPhase(*arguments, **options, metrics=lambda: {"exact": 0.0})
        unwatched.append(optimizer)
        return optimizer

    monkeypatch.setattr(bench_rules, "TwoPhase", without_metrics)
    plain = adam_curve("softmax", 512, 0, 2)
    assert [point | {"exact": 0.0} for point in watched] == plain
    assert unwatched
    assert all(point["exact"] > 0.0 and point["running-mean"] > 0.0 for point in watched)


def test_the_exact_norm_is_that_of_the_whole_gradient():
    data = load_data("digits")
    model = build_model("vit-nomlp", data.image_shape, data.classes, "softmax", seed=0)
    pair = (data.train_inputs, one_hot(data.train_targets, data.classes))
    objective = Objective(model, mse_loss, pair, batch_size=512, seed=0)
    adam = Adam(objective.parameters, lr=1e-3)
    for closure in objective.minibatches(1):
        adam.zero_grad()
        closure()
        adam.step()
    adam.zero_grad()
    objective()
    (point,) = adam_curve("softmax", 512, 0, 1)
    assert point["exact"] == pytest.approx(float(torch.cat([p.grad.flatten() for p in objective.parameters]).norm()), rel=1e-4)


def test_tables_page_and_figures_are_written(small):
    bench_rules.main(["--quick"])
    swaps = read_table(small / "results" / "rules-quick.tsv")
    curves = read_table(small / "results" / "rules-quick-curves.tsv")
    assert len(swaps) == 2 * len(RULES) * len(NORMS)
    assert tuple(curves[0]) == CURVE_COLUMNS
    assert len(curves) == 2 * 2
    write_report(small / "results" / "rules-quick.tsv", small / "docs")
    page = (small / "docs" / "rules-quick.md").read_text()
    assert "| linear, batch 512 | guarded | exact |" in page
    for outputs in ("softmax", "linear"):
        assert (small / "docs" / f"rules-quick-{outputs}.png").stat().st_size > 1000


def test_table_and_findings_say_what_the_rows_say():
    labels = {"outputs": "softmax", "batch": "512", "norm": "exact"}
    rows = [
        {**labels, "rule": "literal", "swap_epoch": "2", "swap_loss": "0.5"},
        {**labels, "rule": "literal", "swap_epoch": "4", "swap_loss": "0.25"},
        {**labels, "rule": "guarded", "swap_epoch": "", "swap_loss": ""},
    ]
    assert "| softmax, batch 512 | literal | exact | 3 (2-4) | 0.38 (0.25-0.5) | 0 of 2 |" in swap_table(rows)
    assert "| guarded | exact | - | - | 1 of 1 |" in swap_table(rows)
    assert "literal rule swaps in epochs 2 to 4, at losses from 0.5 down to 0.25; the guarded rule never swaps" in findings(
        rows
    )


def test_spread_of_nothing():
    assert spread([], "g") == "-"
