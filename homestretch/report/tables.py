"""Tables that put recipes side by side."""

from __future__ import annotations

import math
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
        swap_epoch: The epoch after which the convex phase began, ``None`` if it did not.
        swap_reason: Why then, and what came of it.
    """

    recipe: str
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    gradient_equivalents: float
    seconds: float
    swap_epoch: int | None
    swap_reason: str


_HEADINGS = ("recipe", "train loss", "acc.", "val. loss", "acc.", "eq.", "sec.", "swap")


def comparison_table(rows: Sequence[Row], title: str = "") -> Table:
    """A table for the terminal, within 80 columns; the reasons for the swaps are in :func:`notes`, being sentences."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as NewTable

    caption = "eq.: cost in gradient-equivalents; swap: after this epoch"
    table = NewTable(title=title or None, caption=caption, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for i, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def comparison_markdown(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    headings = ("recipe", "train loss", "train accuracy", "validation loss", "validation accuracy")
    headings += ("cost (gradient-equivalents)", "seconds", "swap after epoch")
    lines = [headings, ("---", *["---:"] * 7), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines) + "\n"


def notes(rows: Sequence[Row]) -> list[str]:
    """One sentence or two on each recipe: when it swapped, why, and how its loss compares with the first recipe's."""
    return [_note(row, rows[0]) for row in rows]


def _note(row: Row, reference: Row) -> str:
    swap = "no swap" if row.swap_epoch is None else f"swap after epoch {row.swap_epoch}"
    text = f"{row.recipe}: {swap}" + (f" ({row.swap_reason})" if row.swap_reason else "")
    ratio = row.train_loss / reference.train_loss if reference.train_loss > 0.0 else math.nan
    if row is reference or not math.isfinite(ratio):
        return f"{text}."
    return f"{text}. Its training loss is {ratio:.3g} x that of {reference.recipe}."


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.recipe,
        f"{row.train_loss:.3e}",
        f"{row.train_accuracy:.4f}",
        f"{row.validation_loss:.3e}",
        f"{row.validation_accuracy:.4f}",
        f"{row.gradient_equivalents:.1f}",
        f"{row.seconds:.1f}",
        "-" if row.swap_epoch is None else str(row.swap_epoch),
    )
