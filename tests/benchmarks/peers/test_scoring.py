from __future__ import annotations

import pytest

from benchmarks.peers.scoring import cost_to_reach, reference_of, references_of, score


@pytest.mark.parametrize(
    ("best", "reference"), [(0.0, 0.0), (1e-9, 0.0), (30.0, 0.0), (48.9 + 1e-7, 48.9), (100.0, 48.9), (-1.0, 0.0)]
)
def test_a_run_is_measured_by_the_highest_reference_it_is_not_below(best, reference):
    assert reference_of(best, (0.0, 48.9)) == reference


def test_references_are_the_listed_ones_and_the_lowest_found():
    assert references_of((0.0, 5.0), 1e-9) == {0.0: "listed", 5.0: "listed"}
    assert references_of((0.0,), 2.0) == {0.0: "listed", 2.0: "lowest"}
    assert references_of((0.0,), -2.0) == {0.0: "listed", -2.0: "lowest"}


def test_cost_to_reach():
    trace = [[1.0, 9.0], [4.0, 1e-7], [6.0, 5e-9]]
    assert cost_to_reach(0.0, trace) == 6.0
    assert cost_to_reach(9.0, trace) == 1.0
    assert cost_to_reach(-1.0, trace) is None


def row(loss, trace, certified=None, start="1x"):
    return {
        "problem": "p", "size": 2, "start": start, "loss": loss, "trace": trace, "certified": certified, "minima": (0.0, 5.0)
    }  # fmt: skip


def test_score():
    rows = [
        row(0.0, [[1, 10.0], [2, 5.0], [3, 0.0]]),
        row(5.0, [[1, 10.0], [7, 5.0]]),
        row(4.0, [[1, 10.0], [8, 4.0]]),
        row(6.0, [[1, 10.0], [9, 6.0]], certified=6.0),
        row(6.5, [[1, 10.0], [9, 6.5]]),
        row(3.0, [[1, 3.0]], start="10x"),
    ]
    scored = score(rows)
    assert [(r["reference"], r["solved"], r["cost_to_solve"]) for r in scored] == [
        (0.0, True, 3),
        (5.0, True, 7),
        (0.0, False, None),
        (5.0, False, None),
        (5.0, False, None),
        (3.0, True, 1),
    ]
    assert [r["reference_kind"] for r in scored] == ["listed", "listed", "listed", "listed", "listed", "lowest"]
    assert [r["elsewhere"] for r in scored] == [False, False, False, True, False, False]
    assert scored[2]["error"] == 4.0
