"""Rows of the test functions' table, as the page on them reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

Cell = Mapping[str, str]


def problem_of(row: Cell) -> str:
    """Return the problem's name, size and start as one string."""
    return f"{row['problem']} {row['size']} {row['start']}"


def solver_of(row: Cell) -> str:
    """Return `library/method`."""
    return f"{row['library']}/{row['method']}"


def group_of(row: Cell) -> str:
    """Return `large` for the problems of n >= 100, else the start."""
    return "large" if int(row["size"]) >= 100 else row["start"]


def costs_of(rows: Iterable[Cell]) -> dict[str, dict[str, float]]:
    """Return the cost to solve by solver and problem; unsolved ones are missing."""
    costs: dict[str, dict[str, float]] = {}
    for row in rows:
        by_problem = costs.setdefault(solver_of(row), {})
        if row["solved"] == "1":
            by_problem[problem_of(row)] = float(row["cost_to_solve"])
    return costs


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its first column to the left and the others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def per_iteration(rows: Iterable[Cell], column: str) -> str:
    """Return the median of a column over iterations, over solved runs of 5 iterations or more; `-` without any."""
    values = [
        float(row[column]) / int(row["iterations"]) for row in rows if row["solved"] == "1" and int(row["iterations"] or 0) >= 5
    ]
    return f"{median(values):.2f}" if values else "-"
