"""Which runs solved their problem, and at what cost: decided afterwards, when all of them are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from benchmarks.peers.meter import TOLERANCE, reaches

Row = dict[str, Any]


def references_of(minima: Sequence[float], lowest: float) -> dict[float, str]:
    """Return the values that runs from one start are measured against, each with its kind.

    Args:
        minima: the known minima ("listed").
        lowest: the lowest f that any run found ("lowest"); it is left out where it is one of the others.
    """
    references = dict.fromkeys(minima, "listed")
    if all(abs(lowest - other) > TOLERANCE * (1 + abs(lowest)) for other in minima):
        references[lowest] = "lowest"
    return references


def reference_of(best: float, references: Collection[float]) -> float:
    """Return the minimum that a run ending at `best` is measured against.

    It is the highest of the references that `best` is not below (by more than the tolerance): a run that passed a local
    minimum's value on its way further down is measured by the lower one, and has not solved the problem before it is
    there.
    """
    below = [value for value in references if value - TOLERANCE * (1 + abs(value)) <= best]
    return max(below, default=min(references))


def cost_to_reach(value: float, trace: Iterable[Sequence[float]]) -> float | None:
    """Return the cost at which a run first was as low as `value`; None if it never was."""
    return next((cost for cost, loss in trace if reaches(loss, value)), None)


def score(rows: Iterable[Row]) -> list[Row]:
    """Add `reference`, `reference_kind`, `error`, `cost_to_solve`, `solved` and `elsewhere` to each row.

    A row has `problem`, `size`, `start`, `loss` (the best f), `minima`, `certified` (the local minimum in which the run
    was shown to have ended, or None) and `trace`. Runs from the same start share their references: see `references_of`.
    `elsewhere` says that a run solved nothing because it ended in a local minimum that is none of them.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["problem"], row["size"], row["start"]].append(row)
    scored = []
    for group in groups.values():
        references = references_of(group[0]["minima"], min(row["loss"] for row in group))
        for row in group:
            reference = reference_of(row["loss"], references)
            cost = cost_to_reach(reference, row["trace"])
            scored.append(
                {
                    **row,
                    "reference": reference,
                    "reference_kind": references[reference],
                    "error": row["loss"] - reference,
                    "cost_to_solve": cost,
                    "solved": cost is not None,
                    "elsewhere": cost is None and row["certified"] is not None,
                }
            )
    return scored
