"""A table of text, for the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


@dataclass(frozen=True)
class Grid:
    """Headings and rows of cells; the first ``left`` columns stand to the left, the others to the right.

    Attributes:
        headings: One a column.
        rows: The cells.
        title: What it shows.
        left: How many columns hold words.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: int = 1

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(f"a row has {len(row)} cells under {len(self.headings)} headings: {', '.join(row)}")

    def terminal(self) -> Table:
        """A table for :mod:`rich`."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as NewTable

        table = NewTable(title=self.title or None, box=SIMPLE_HEAD, padding=0, pad_edge=False)
        for i, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if i < self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """A table in Markdown, without its title."""
        rule = ["---" if i < self.left else "---:" for i in range(len(self.headings))]
        lines = [self.headings, rule, *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines) + "\n"

    def latex(self) -> str:
        """A ``tabular`` for the package booktabs, without its title."""
        columns = "l" * self.left + "r" * (len(self.headings) - self.left)
        body = [" & ".join(map(_escaped, line)) + r" \\" for line in (self.headings, *self.rows)]
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
