from __future__ import annotations

import pytest

from homestretch.cli.paper import dispatch

TABLE = ("paper", "table", "--sets", "digits", "--models", "vit-nomlp-wkewq-wvwo", "--size", "tiny", "--seeds", 0)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


def test_the_table_is_run_written_and_shown(call, out):
    code, text, err = call(*TABLE, "--recipes", "golden-30", "adam-cosine", "--out", out)
    assert (code, err) == (0, "")
    assert "0 of 3 cells are finished, 3 to run" in text
    assert "digits / vit-nomlp-wkewq-wvwo, size tiny" in text
    names = {path.name for path in (out / "tiny").iterdir() if path.is_file()}
    assert names == {
        "table.parquet",
        "table.tsv",
        "table-epochs.parquet",
        "summary.md",
        "summary.tex",
        "summary.parquet",
    }


@pytest.mark.parametrize(("form", "shown"), [("markdown", "| digits |"), ("latex", r"\begin{tabular}"), ("table", "golden-30")])
def test_what_is_there_is_shown_in_every_form(call, out, form, shown):
    code, text, _ = call(*TABLE, "--no-run", "--format", form, "--out", out)
    assert code == 0
    assert shown in text
    assert "begins" not in text


def test_a_table_goes_on(call, out):
    code, text, _ = call(*TABLE, "--recipes", "golden-30", "adam-cosine", "--printed", "--out", out)
    assert code == 0
    assert "2 of 3 cells are finished, 1 to run" in text
    assert "golden-30*" in text


def test_figures_and_the_page(call, out):
    traces = out / "tiny" / "table-epochs.parquet"
    cell = ("--set", "digits", "--model", "vit-nomlp-wkewq-wvwo")
    for results in (traces, out / "tiny"):
        code, text, _ = call("paper", "figures", *cell, "--results", results, "--out", out / "figures")
        assert (code, text) == (0, f"18 files in {out / 'figures'}\n")
    code, _, err = call("paper", "figures", "--results", traces, "--out", out / "none")
    assert code == 2
    assert "holds no run of cifar-10/vit-mlp seed 0; it has digits/vit-nomlp-wkewq-wvwo seed 0" in err
    results = traces.with_name("table.parquet")
    code, _, err = call("paper", "report", "--results", results, "--out", out / "docs")
    assert (code, err) == (0, "")
    page = (out / "docs" / "what-we-found.md").read_text()
    assert "digits / vit-nomlp-wkewq-wvwo: adam (seed 0)" in page
    assert "(figures/figure-6-digits-vit-nomlp-wkewq-wvwo.png)" in page
    assert (out / "docs" / "figures" / "figure-6-digits-vit-nomlp-wkewq-wvwo.csv").exists()


def test_figures_that_need_runs_are_missed_aloud(call, monkeypatch, tmp_path):
    monkeypatch.setattr("homestretch.cli.paper.save_figures", lambda *_: [tmp_path] * 12)
    _, text, _ = call("paper", "figures", "--out", tmp_path)
    assert text == f"12 files in {tmp_path}; figures 5 and 6 are drawn from a table's runs, which --results names\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [((), "By hand and long ago."), (("--note", "Another remark."), "Another remark."), (("--note", ""), "")],
)
def test_the_note_beside_the_results_is_on_the_page_unless_another_is_given(call, out, given, expected):
    results = out / "tiny" / "table.parquet"
    results.with_name("table.note.md").write_text("By hand and long ago.\n")
    code, _, err = call("paper", "report", "--results", results, "--out", out / "noted", *given)
    results.with_name("table.note.md").unlink()
    assert (code, err) == (0, "")
    page = (out / "noted" / "what-we-found.md").read_text()
    assert (f"\n*Written by hand, not from the results:* {expected}\n" in page) == bool(expected)
    assert ("written by hand" in page.split("## What was run")[0]) == bool(expected)
    assert ("long ago" in page) == (not given)


def test_cells_that_fail_are_said(call, tmp_path):
    settings = tmp_path / "tiny" / "digits" / "vit-nomlp-wkewq-wvwo" / "seed-0" / "adam" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text("{}")
    code, text, err = call(*TABLE, "--recipes", "adam", "--out", tmp_path)
    assert code == 2
    assert "FAILED" in text
    assert "other settings" in text
    assert "written" not in text
    assert "1 cells failed" in err


def test_data_are_looked_for_only_where_cells_are_to_be_run(call, out, monkeypatch):
    asked = []
    monkeypatch.setattr("homestretch.paper.table.workers.check_data", lambda problem: asked.append(problem.data))
    code, text, _ = call(*TABLE, "--recipes", "golden-30", "adam-cosine", "--out", out)
    assert code == 0
    assert "3 of 3 cells are finished" in text
    assert not asked


def test_a_size_that_was_not_run_is_not_shown(call, out):
    code, text, err = call(*TABLE, "--size", "small", "--no-run", "--out", out)
    assert (code, text) == (2, "")
    assert f"{out / 'small'} holds no outcomes" in err
    assert not (out / "small").exists()


def test_nothing_to_report(call, tmp_path):
    code, _, err = call("paper", "report", "--results", tmp_path / "no.parquet")
    assert code == 2
    assert "homestretch paper table" in err


def test_other_commands_are_refused():
    with pytest.raises(TypeError, match="no such command"):
        dispatch("fly")
