from __future__ import annotations

import pytest
from rich.console import Console

from homestretch.report.grid import Grid

GRID = Grid(("name", "100 %"), [("a_b|c", "1"), ("~^\\{}", "22")], "A title")


def test_markdown():
    assert GRID.markdown() == "| name | 100 % |\n| --- | ---: |\n| a_b/c | 1 |\n| ~^\\{} | 22 |\n"


def test_latex_escapes_what_latex_reads():
    assert GRID.latex().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"name & 100 \% \\",
        r"\midrule",
        r"a\_b|c & 1 \\",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\} & 22 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_terminal():
    console = Console(width=40, record=True)
    with console.capture() as captured:
        console.print(GRID.terminal())
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert any("A title" in line for line in lines)
    assert any(line.split() == ["a_b|c", "1"] for line in lines)


def test_rows_fit_their_headings():
    with pytest.raises(ValueError, match="3 cells under 2 headings"):
        Grid(("a", "b"), [("1", "2", "3")])
