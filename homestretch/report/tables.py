"""Tables that put recipes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One recipe's outcome.

    Attributes:
        recipe: Name of the recipe.
        train_loss: Loss over the training data.
        train_accuracy: Share of training samples classified correctly.
        validation_loss: Loss over the validation data.
        validation_accuracy: Share of validation samples classified correctly.
        gradient_equivalents: Counted cost.
        seconds: Wall time.
        swap: Epoch of the swap and its reason, or why there was none.
    """

    recipe: str
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    gradient_equivalents: float
    seconds: float
    swap: str


_HEADINGS = ("recipe", "train loss", "train acc.", "val. loss", "val. acc.", "cost (eq.)", "seconds", "swap")


def _cells(row: Row) -> list[str]:
    return [
        row.recipe,
        f"{row.train_loss:.3e}",
        f"{row.train_accuracy:.4f}",
        f"{row.validation_loss:.3e}",
        f"{row.validation_accuracy:.4f}",
        f"{row.gradient_equivalents:.1f}",
        f"{row.seconds:.1f}",
        row.swap,
    ]


def to_table(rows: Sequence[Row], title: str) -> Table:
    """A table for the terminal."""
    from rich.table import Table as NewTable

    table = NewTable(title=title)
    for i, heading in enumerate(_HEADINGS):
        numeric = 0 < i < len(_HEADINGS) - 1
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def to_markdown(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    lines = [_HEADINGS, ["---"] + ["---:"] * (len(_HEADINGS) - 2) + ["---"], *(_cells(r) for r in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines) + "\n"
