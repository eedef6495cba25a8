"""Which runs solved their problem, and at what cost: decided afterwards, when all of them are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.peers.meter import TOLERANCE, reaches

Row = dict[str, Any]


def references_of(minima: Sequence[float], lowest: float) -> tuple[float, ...]:
    """Return the known minima, and the lowest f found if it is none of them."""
    slack = TOLERANCE * (1 + abs(lowest))
    if any(abs(lowest - value) <= slack for value in minima):
        return tuple(minima)
    return (*minima, lowest)


def reference_of(best: float, references: Sequence[float]) -> float:
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
    """Add `reference`, `error`, `cost_to_solve` and `solved` to each row.

    A row has `problem`, `size`, `start`, `loss` (the best f), `minima` and `trace`. The references of a problem are its
    known minima and the lowest f that any run from the same start has found.
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
                    "error": row["loss"] - reference,
                    "cost_to_solve": cost,
                    "solved": cost is not None,
                }
            )
    return scored
