from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from homestretch.report import Row, comparison_markdown, comparison_table, notes

ADAM = Row("Adam alone", 2e-3, 0.99125, 3.5e-2, 0.915, 120.0, 61.25, None, "")
BOTH = Row("Adam then L-BFGS", 5e-4, 1.0, 3.25e-2, 0.925, 121.2, 70.0, 29, "norm 0.1 is below 0.9 x its maximum | of epoch 25")


def printed(table, width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    console.file.close()
    return console.export_text()


def test_the_terminal_table_fits_80_columns_unabridged():
    text = printed(comparison_table([ADAM, BOTH], "digits"))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    cells = next(line for line in text.splitlines() if BOTH.recipe in line).strip().removeprefix(BOTH.recipe).split()
    assert cells == ["5.000e-04", "1.0000", "3.250e-02", "0.9250", "121.2", "70.0", "29"]
    assert "digits" in text


def test_markdown_has_the_cells_and_leaves_the_reasons_to_the_notes():
    lines = comparison_markdown([replace(ADAM, recipe="Adam | alone"), BOTH]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    assert cells[0][0] == "recipe"
    assert (cells[2][0], cells[2][-1]) == ("Adam / alone", "-")
    assert cells[3][-1] == "29"
    assert cells[3][1:3] == ["5.000e-04", "1.0000"]


def test_notes_give_swap_reason_and_ratio():
    first, second = notes([ADAM, BOTH])
    assert first == "Adam alone: no swap."
    assert second.startswith("Adam then L-BFGS: swap after epoch 29 (norm 0.1 is below")
    assert second.endswith("Its training loss is 0.25 x that of Adam alone.")


@pytest.mark.parametrize("losses", [(0.0, 1.0), (1.0, float("nan")), (float("nan"), 1.0), (float("inf"), float("inf"))])
def test_no_ratio_where_there_is_none(losses):
    rows = [replace(row, train_loss=loss) for row, loss in zip((ADAM, BOTH), losses, strict=True)]
    assert " x that of" not in notes(rows)[1]
    assert len(comparison_markdown(rows).splitlines()) == 4


def test_no_rows():
    assert notes([]) == []
    assert len(comparison_markdown([]).splitlines()) == 2
