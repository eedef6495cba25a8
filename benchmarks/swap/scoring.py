"""Regret: how much a method loses against the best moment to swap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
_TINY = 1e-300  # a loss that reached zero


def score(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with their regret: log10 of the final loss less that of the best fixed swap of the same start."""
    best: dict[tuple[Any, Any], float] = {}
    for row in rows:
        if row["method"].startswith("fixed-"):
            start = (row["problem"], row["seed"])
            best[start] = min(best.get(start, math.inf), _log(row["loss"]))
    return [{**row, "regret": _log(row["loss"]) - best[row["problem"], row["seed"]]} for row in rows]


def _log(loss: float) -> float:
    return math.log10(max(loss, _TINY)) if math.isfinite(loss) else math.inf
