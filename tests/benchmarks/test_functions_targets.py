from __future__ import annotations

import pytest

from benchmarks.functions_targets import CONJUGATE, DEFAULT, targets, within_of_best_peer, worst_margin


def row(solver, problem, cost=None, *, status="solved", detail="", elsewhere="0", iterations="10", evaluations="15"):
    library, method = solver.split("/")
    return {
        "library": library, "method": method, "problem": problem, "size": "2", "start": "1x", "status": status, "detail": detail,
        "solved": "0" if cost is None else "1", "cost_to_solve": "" if cost is None else str(cost), "elsewhere": elsewhere,
        "iterations": iterations, "evaluations": evaluations, "gradient_equivalents": "20",
    }  # fmt: skip


ROWS = [
    row(DEFAULT, "a", 10.0), row("scipy/CG", "a", 20.0), row("scipy/BFGS", "a", 30.0),
    row(DEFAULT, "b", 30.0), row("scipy/CG", "b", 20.0), row("scipy/BFGS", "b"),
    row(DEFAULT, "c", 41.0), row("scipy/CG", "c", 50.0), row("scipy/BFGS", "c", 20.0),
    row(DEFAULT, "d", status="stopped", detail="NO_PROGRESS"), row("scipy/CG", "d"), row("scipy/BFGS", "d"),
    row("homestretch/NewtonCG", "a", 1.0), row(CONJUGATE, "a", 10.0, evaluations="25"),
]  # fmt: skip


def test_distance_from_the_best_peer_ignores_our_other_methods():
    assert within_of_best_peer(ROWS, 2.0) == pytest.approx(2 / 4)
    assert within_of_best_peer(ROWS, 2.1) == pytest.approx(3 / 4)


def test_margin_of_the_profile():
    # Ratios of the default: 1, 1.5, 2.05; of CG: 2, 1, 2.5; of BFGS: 3, -, 1.
    peer, margin, factor = worst_margin(ROWS)
    assert (peer, margin, factor) == ("scipy/CG", 0.0, 1.0)
    ahead = [r for r in ROWS if r["problem"] != "a"]
    peer, margin, factor = worst_margin(ahead)
    assert margin == pytest.approx(-1 / 3)
    assert factor == 1.0


def test_the_table_says_what_is_met_and_what_became_of_the_rest():
    text = targets(ROWS)
    assert "| solves every problem | 3 of 4 | no |" in text
    assert "| 50% | no |" in text
    assert "| 2.50 | no |" in text
    assert "d 2 1x (stopped: no progress)" in text


def test_where_all_is_solved_nothing_more_is_said():
    text = targets([r for r in ROWS if r["problem"] in "ab"])
    assert "| 2 of 2 | yes |" in text
    assert "not solved" not in text


@pytest.mark.parametrize(("options", "kind"), [({"status": "budget"}, "budget spent"), ({"elsewhere": "1"}, "local minimum")])
def test_kinds_of_failure(options, kind):
    assert kind in targets([row(DEFAULT, "a", **options), row("scipy/CG", "a", 1.0)])
