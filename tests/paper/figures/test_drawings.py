from __future__ import annotations

import csv

import pytest

from homestretch.errors import DataError
from homestretch.paper.figures import figure_1, figure_2, figure_3, figure_4, figure_5, figure_6, save_figures
from homestretch.paper.table.traces import read_histories

CELL = ("digits", "vit-nomlp-wkewq-wvwo")


@pytest.mark.parametrize(("make", "lines"), [(figure_1, 5), (figure_2, 5), (figure_3, 3), (figure_4, 5)])
def test_figures_from_formulas(make, lines):
    drawing = make()
    (axes,) = drawing.figure.axes
    assert len(axes.get_lines()) == lines
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert len(drawing.rows) > 40


def test_figures_from_runs(tiny_table):
    histories = read_histories(tiny_table)
    assert {row["phase"] for row in figure_5(histories, *CELL).rows} == {"first", "second"}
    assert {row["recipe"] for row in figure_6(histories, *CELL).rows} == {"adam", "golden-30"}
    with pytest.raises(DataError, match="seed 7"):
        figure_5(histories, *CELL, seed=7)
    with pytest.raises(DataError, match="no run of mnist"):
        figure_6(histories, "mnist", "vit-mlp")


def test_every_figure_is_saved_with_its_data(tiny_table, tmp_path):
    save_figures(tmp_path, read_histories(tiny_table), *CELL)
    names = [f"figure-{i}" for i in (1, 2, 3, 4)] + [f"figure-{i}-{'-'.join(CELL)}" for i in (5, 6)]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{end}" for name in names for end in ("png", "pdf", "csv")}
    with (tmp_path / "figure-4.csv").open() as stream:
        assert {row["C"] for row in csv.DictReader(stream)} == {"0.4", "0.45", "0.5", "0.55", "0.6"}


def test_without_runs_only_the_formulas_are_drawn(tmp_path):
    save_figures(tmp_path, {}, *CELL)
    assert len(list(tmp_path.glob("*.png"))) == 4
