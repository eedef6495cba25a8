from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from homestretch.paper.table.summary import Spread, gains, groups, summary_grid, terminal_grids, write_summary


@pytest.fixture
def runs(outcome):
    adam = [outcome(seed=s, train_loss=loss) for s, loss in ((0, 1e-3), (1, 2e-3), (2, 4e-3))]
    golden = [
        outcome(recipe="golden-30", seed=s, train_loss=loss, swap_epoch=90, gradient_equivalents=303.0)
        for s, loss in ((1, 1e-3), (0, 1e-3), (2, 1e-3))
    ]
    return [*golden, *adam, outcome(recipe="golden-30", accounting="printed", train_loss=5e-4, swap_epoch=90)]


def test_groups_gather_seeds_in_order(runs):
    found = groups(runs)
    assert [(g.recipe, g.accounting, len(g.outcomes)) for g in found] == [
        ("adam", "cost", 3),
        ("golden-30", "cost", 3),
        ("golden-30", "printed", 1),
    ]
    assert [o.seed for o in found[1].outcomes] == [0, 1, 2]
    assert found[0].spread(lambda o: o.train_loss) == Spread(2e-3, 1e-3, 4e-3)


def test_gains_are_seed_by_seed(runs):
    adam, golden, printed = groups(runs)
    assert gains(adam, runs) is None
    assert gains(golden, runs) == Spread(pytest.approx(2.0), pytest.approx(1.0), pytest.approx(4.0))
    assert gains(printed, runs).median == pytest.approx(2.0)
    assert gains(golden, [o for o in runs if o.recipe != "adam"]) is None


def test_the_table_shows_ours_and_the_printed(runs):
    grid = summary_grid(runs)
    lines = [dict(zip(grid.headings[2:5] + grid.headings[-5:], row[2:5] + row[-5:], strict=True)) for row in grid.rows]
    assert [line["at"] for line in lines] == ["equal cost", "as printed", "equal cost", "as printed", "equal epochs"]
    assert lines[2]["gain"] == "2 (1 to 4)"
    assert lines[3]["gain"] == "1 to 2.33"
    assert lines[2]["swap"] == "90"
    assert grid.rows[0][5] == "2.00e-03 (1.00e-03 to 4.00e-03)"
    assert grid.rows[1][5:9] == [".0003", ".998", ".0064", ".963"]
    assert "top 5" not in grid.headings


def test_the_five_best_are_shown_where_there_are_many_classes(outcome):
    runs = [outcome(set="cifar-100", validation_top5=0.41), outcome()]
    grid = summary_grid(runs)
    column = grid.headings.index("top 5")
    assert [row[column] for row in grid.rows if row[3] == "equal cost"] == ["", "0.410"]


def test_some_seeds_without_a_swap(outcome):
    (group,) = groups([outcome(recipe="auto", seed=0, swap_epoch=30), outcome(recipe="auto", seed=1)])
    assert group.swap == "30, 1 without"


def test_the_terminal_has_80_columns(runs):
    console = Console(width=80, record=True)
    with console.capture() as captured:
        for grid in terminal_grids(runs):
            console.print(grid.terminal())
    text = captured.get()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "mnist / vit-nomlp, size tenth, Q = 1.09, 3 seeds" in text
    for shown in ("golden-30*", " printed", "1.0e-3-4.0e-3", "2.00e-3", "303"):
        assert shown in text


def test_the_summary_is_written_in_every_form(runs, tmp_path):
    markdown, latex, parquet = write_summary(runs, tmp_path, "summary")
    assert "| mnist | vit-nomlp | golden-30 |" in markdown.read_text()
    assert r"\begin{tabular}" in latex.read_text()
    rows = pq.read_table(parquet).to_pylist()
    golden = next(row for row in rows if (row["recipe"], row["accounting"]) == ("golden-30", "cost"))
    assert (golden["train_loss"], golden["train_loss_high"], golden["seeds"]) == (1e-3, 1e-3, 3)
    assert (golden["printed_train_loss"], golden["gain"]) == (0.0002, pytest.approx(2.0))
    assert golden["printed_gain_low"] == pytest.approx(1.0)
    assert rows[0]["printed_validation_accuracy"] == 0.963
    assert write_summary([], tmp_path, "none") == [tmp_path / "none.md", tmp_path / "none.tex"]
