"""The targets set for the test functions, each with the measured distance from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.functions_rows import Cell, costs_of, markdown_table, per_iteration, problem_of, solver_of
from benchmarks.profile_plot import ratios, share_within

DEFAULT = "homestretch/LBFGS"
"""What a user gets who chooses nothing and hands over gradients only."""
CONJUGATE = "homestretch/ConjugateGradient"


def targets(rows: Sequence[Cell]) -> str:
    """Return the targets as a table, and what lies behind those that are missed."""
    of_default = [row for row in rows if solver_of(row) == DEFAULT]
    solved = sum(row["solved"] == "1" for row in of_default)
    within = within_of_best_peer(rows, 2.0)
    evaluations = per_iteration((row for row in rows if solver_of(row) == CONJUGATE), "evaluations")
    worst_peer, margin, factor = worst_margin(rows)
    lines = [
        ("solves every problem", f"{solved} of {len(of_default)}", solved == len(of_default)),
        ("profile above each single peer's", _margin_text(worst_peer, margin, factor), margin >= 0.0),
        ("within 2x of the best peer on 80 % of the problems", f"{within:.0%}", within >= 0.8),
        (f"{CONJUGATE}: at most 2.0 evaluations an iteration, median", evaluations, _at_most(evaluations, 2.0)),
    ]
    table = markdown_table(["target", "measured", "met"], [(what, found, "yes" if met else "no") for what, found, met in lines])
    return "\n\n".join([table, *_unsolved(of_default)])


def peers_of(rows: Sequence[Cell]) -> list[str]:
    """Return the solvers that are not ours."""
    return [name for name in dict.fromkeys(solver_of(row) for row in rows) if not name.startswith("homestretch/")]


def within_of_best_peer(rows: Sequence[Cell], factor: float) -> float:
    """Return the share of all problems that the default solves at up to `factor` times the cheapest peer's cost."""
    costs = costs_of(rows)
    peers = [costs[name] for name in peers_of(rows)]
    mine = costs.get(DEFAULT, {})
    problems = list(dict.fromkeys(problem_of(row) for row in rows))
    best = {p: min((c[p] for c in peers if p in c), default=np.inf) for p in problems}
    return float(np.mean([p in mine and mine[p] <= factor * best[p] for p in problems]))


def worst_margin(rows: Sequence[Cell]) -> tuple[str, float, float]:
    """Return the peer whose profile rises farthest above the default's (or comes nearest to it), by how much and where.

    The ratios are to the cheapest of the default and all peers; a negative margin says that the peer is above.
    """
    costs = costs_of(rows)
    problems = list(dict.fromkeys(problem_of(row) for row in rows))
    by_solver = ratios({name: costs.get(name, {}) for name in (DEFAULT, *peers_of(rows))}, problems)
    found = [("no peer", 1.0, 1.0)]
    for peer in peers_of(rows):
        factors = np.unique(np.concatenate([by_solver[name][np.isfinite(by_solver[name])] for name in (DEFAULT, peer)]))
        margins = [share_within(f, by_solver[DEFAULT]) - share_within(f, by_solver[peer]) for f in factors]
        if margins:
            lowest = int(np.argmin(margins))
            found.append((peer, margins[lowest], float(factors[lowest])))
    return min(found, key=lambda entry: entry[1])


def _margin_text(peer: str, margin: float, factor: float) -> str:
    side = "above" if margin < 0.0 else "below"
    return f"nearest is {peer}, {abs(margin):.1%} of the problems {side} at {factor:.2f} times the cheapest cost"


def _at_most(value: str, limit: float) -> bool:
    return value != "-" and float(value) <= limit


def _unsolved(rows: Sequence[Cell]) -> list[str]:
    """Say what became of the runs that solved nothing."""
    left = [row for row in rows if row["solved"] != "1"]
    if not left:
        return []
    kinds = Counter(_kind(row) for row in left)
    names = "; ".join(f"{problem_of(row)} ({_kind(row)})" for row in left)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return [f"The {len(left)} runs of {DEFAULT} that are not solved ({counts}): {names}."]


def _kind(row: Cell) -> str:
    if row["elsewhere"] == "1":
        return "ended in a local minimum that is neither listed nor the lowest found"
    return {"budget": "budget spent", "time": "time is up"}.get(
        row["status"], f"stopped: {row['detail'].lower().replace('_', ' ')}"
    )
