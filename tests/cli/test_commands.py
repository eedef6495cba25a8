from __future__ import annotations

import json

import pytest

from homestretch.cli import commands, folder
from homestretch.history import EventRecord, History, IterationRecord
from homestretch.training import RECORD
from tests.cli.conftest import TINY, interruption, losses

EARLY = ("--rule", "epoch", "--swap-at", 2)


def test_a_run_writes_everything_and_says_where(call, tmp_path):
    out = tmp_path / "run"
    code, text, err = call("run", *TINY, *EARLY, "--budget", 8, "--out", out)
    assert (code, err) == (0, "")
    assert str(out / "summary.md") in text
    assert "swap after epoch 2" in text
    history = History.read(out / RECORD)
    assert [r.name for r in history.of(EventRecord)] == ["evidence", "swap", "stop"]
    assert history.of(IterationRecord)
    names = {p.name for p in out.iterdir()}
    kinds = {f"{kind}.parquet" for kind in ("epoch", "iteration", "decision", "event")}
    assert kinds | {"record.jsonl", "checkpoint.pt", "settings.json", "result.json", "summary.md", "figures"} <= names
    figures = {p.name for p in (out / "figures").iterdir()}
    stems = ("gradient-norm-against-loss", "gradient-norm-by-epoch", "loss-against-cost", "searches")
    assert figures == {f"{stem}.{ending}" for stem in stems for ending in ("png", "pdf", "csv")}
    row = folder.read_result(out)
    assert row.swap_epoch == 2
    assert row.gradient_equivalents >= 8
    summary = (out / "summary.md").read_text()
    assert f"{row.train_loss:.3e}" in summary
    assert "(figures/searches.png)" in summary


def test_a_run_without_a_swap(call, tmp_path):
    code, text, _ = call("run", *TINY, "--second", "none", "--budget", 2, "--out", tmp_path / "run")
    assert code == 0
    assert "no swap" in text
    assert not (tmp_path / "run" / "figures" / "searches.png").exists()


def test_a_run_is_not_replaced_unless_told_so(call, tmp_path):
    out = tmp_path / "run"
    given = ("run", *TINY, "--out", out)
    assert call(*given, *EARLY, "--budget", 5)[0] == 0
    before = (out / RECORD).read_text()
    code, _, err = call(*given, *EARLY, "--budget", 3)
    assert code == 2
    assert "homestretch resume" in err
    assert "--overwrite" in err
    assert (out / RECORD).read_text() == before
    assert call(*given, "--budget", 1, "--second", "none", "--overwrite")[0] == 0
    assert len(losses(out)) == 1
    assert not (out / "iteration.parquet").exists()
    assert not (out / "figures" / "searches.png").exists()


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("epoch", [1, 4], ids=["before the swap", "after it"])
def test_an_interrupted_run_goes_on_bit_for_bit(call, tmp_path, epoch):
    given = ("run", *TINY, *EARLY, "--second", "golden-pr", "--no-resort", "--budget", 12)
    assert call(*given, "--out", tmp_path / "whole")[0] == 0
    cut = tmp_path / "cut"
    with interruption(epoch):
        code, _, err = call(*given, "--out", cut)
    assert code == 130
    assert f"homestretch resume {cut}" in err
    assert "Traceback" not in err
    assert not (cut / "result.json").exists()
    code, text, err = call("resume", cut)
    assert (code, err) == (0, "")
    assert losses(cut) == losses(tmp_path / "whole")
    whole, part = folder.read_result(tmp_path / "whole"), folder.read_result(cut)
    assert (part.train_loss, part.validation_loss) == (whole.train_loss, whole.validation_loss)
    assert "swap after epoch 2" in text


@pytest.mark.usefixtures("without_figures")
def test_an_interruption_before_the_first_epoch(call, tmp_path):
    out = tmp_path / "run"
    with interruption(0):
        code, _, err = call("run", *TINY, "--out", out)
    assert code == 130
    assert "repeat the command" in err
    assert call("run", *TINY, "--second", "none", "--budget", 1, "--out", out)[0] == 0


def test_recipes_are_compared_from_the_same_start_at_the_same_cost(call, tmp_path):
    code, text, _ = call("compare", *TINY, "--recipes", "adam", "golden-30", "--budget", 5, "--out", tmp_path)
    assert code == 0
    rows = [folder.read_result(tmp_path / name) for name in ("adam", "golden-30")]
    assert rows[0].gradient_equivalents == pytest.approx(5)
    assert rows[1].gradient_equivalents >= 5
    assert (rows[0].swap_epoch, rows[1].swap_epoch) == (None, 2)
    assert losses(tmp_path / "adam")[:2] == losses(tmp_path / "golden-30")[:2]
    assert all(f"{row.train_loss:.3e}" in text for row in rows)
    assert "x that of adam" in text
    assert (tmp_path / "loss-against-cost.png").exists()
    assert "(golden-30/figures/searches.png)" in (tmp_path / "summary.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_an_interrupted_comparison_goes_on_where_it_was(call, tmp_path):
    given = ("compare", *TINY, "--recipes", "adam", "golden-30", "--budget", 6, "--out", tmp_path / "cut")
    with interruption(3):
        assert call(*given)[0] == 130
    assert len(losses(tmp_path / "cut" / "adam")) == 3
    code, text, _ = call(*given)
    assert code == 0
    assert "finished before" not in text
    assert len(losses(tmp_path / "cut" / "adam")) == 6
    code, text, _ = call(*given)
    assert code == 0
    assert text.count("finished before") == 2
    assert call("compare", *TINY, "--recipes", "adam", "--budget", 6, "--out", tmp_path / "whole")[0] == 0
    assert losses(tmp_path / "whole" / "adam") == losses(tmp_path / "cut" / "adam")


@pytest.mark.usefixtures("without_figures")
def test_a_comparison_of_other_settings_is_not_replaced(call, tmp_path):
    given = ("compare", *TINY, "--recipes", "adam", "--out", tmp_path)
    assert call(*given, "--budget", 1)[0] == 0
    code, _, err = call(*given, "--budget", 2)
    assert code == 2
    assert "other settings (adam)" in err
    assert len(losses(tmp_path / "adam")) == 1
    assert call(*given, "--budget", 2, "--overwrite")[0] == 0
    assert len(losses(tmp_path / "adam")) == 2


def test_figures_can_be_drawn_again(call, tmp_path):
    assert call("compare", *TINY, "--recipes", "adam", "golden-30", "--budget", 3, "--out", tmp_path)[0] == 0
    pictures = [*tmp_path.glob("*.png"), *tmp_path.glob("*/figures/*.csv")]
    before = {path: path.read_bytes() for path in pictures}
    for path in pictures:
        path.unlink()
    code, text, _ = call("plot", tmp_path)
    assert code == 0
    assert "12 files" in text
    assert {path: path.read_bytes() for path in pictures if path.suffix == ".csv"} == {
        path: content for path, content in before.items() if path.suffix == ".csv"
    }
    assert all(path.exists() for path in pictures)
    assert call("plot", tmp_path / "adam")[1].startswith("9 files")


@pytest.mark.usefixtures("without_figures")
def test_the_demo_needs_no_argument(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = commands.Problem(model="vit-nomlp-wkewq-wvwo", train_limit=32, validation_limit=16, batch=16)
    monkeypatch.setattr(commands, "demo_problem", lambda seed: small)
    code, text, _ = call("demo", "--budget", 3)
    assert code == 0
    names = ("adam-alone", "adam-then-cg", "adam-then-l-bfgs")
    assert all((tmp_path / "runs" / "demo" / name / "result.json").exists() for name in names)
    assert "1,437 handwritten digits" in text
    assert "runs/demo/summary.md" in text.replace("\n", "")
    assert call("demo", "--budget", 3)[1].count("finished before") == 3
    assert call("demo", "--budget", 2)[0] == 0  # other settings: the demo replaces its own
    assert json.loads((tmp_path / "runs/demo/adam-alone/settings.json").read_text())["budget"] == 2


def test_the_demos_problem_is_the_papers():
    problem = commands.demo_problem(3)
    assert (problem.model, problem.data, problem.outputs, problem.seed) == ("vit-nomlp", "digits", "softmax", 3)
    assert problem.train_limit is None
