"""The docs page on the test functions, made from `benchmarks/results/functions.tsv`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.functions_rows import (
    Cell,
    costs_of,
    group_of,
    markdown_table,
    per_iteration,
    problem_of,
    solver_of,
)
from benchmarks.functions_targets import targets
from benchmarks.profile_plot import draw, ratios, share_within
from benchmarks.results_io import ROOT, read_table, table_path

DOCS = ROOT.parent / "docs" / "benchmarks"
GROUPS = ("1x", "10x", "100x", "large")

INTRODUCTION = """# Smooth test functions

The 35 functions of More, Garbow and Hillstrom (1981) from their standard starts and from 10 and 100 times these, where
f and its gradient are finite there and there is something left to do, and seven families at n = 100, 1,000 and 10,000
(with penalty II at 100). float64, one thread. Every solver gets the same start, a budget of {budget:g}
gradient-equivalents, {limit_seconds:g} seconds, and tolerances of zero, so that none stops early by its own rule. Seconds
are of processor time; peers' rows that were cached before this was so have wall time on a quiet machine.

**Prices**, in gradient-equivalents: a forward pass 1/3, forward and backward 1, a Hessian product 3, a Gauss-Newton product 2.
Levenberg-Marquardt pays 2/3 for each row or column of the Jacobian, whichever are fewer, as each is a backward pass, and for
its dense algebra by floating-point operations, a gradient counting as 6 for each residual and unknown. The vector algebra of
quasi-Newton methods is not priced, dense (ours and SciPy's BFGS) or not; the seconds show it. Gauss-Newton-CG and
Levenberg-Marquardt see the residuals, which no peer here does, so they are no match for the peers but a yardstick for sums of
squares.

**Solved** means f - f_ref <= {tolerance:g} (1 + |f_ref|) within the budget, where f_ref is any listed minimum or the lowest f
that any solver found from that start. The list (`benchmarks/functions/catalogue.py`) holds the published minima and a few
others, marked there as found later. A run is measured against the highest f_ref that it is not below, so passing a minimum's
value on the way down solves nothing. Some functions (trigonometric, Broyden, Chebyquad) have more local minima than are
listed: a run that ends in one of those counts as not solved, unless none went lower, whatever the luck in it. The column
"elsewhere" counts the runs that were shown to end so (positive definite Hessian, and a Newton step that gains nothing).

**Read with care**: the defaults of homestretch's searches and of its conjugate gradients were chosen, among about fifty
settings, on most of these same problems; there is no held-out set. Its rows are therefore optimistic beside the peers', of
which only torchzero's were tried in a few settings (on nine problems). Differences of one or two problems mean nothing.

Made by `make bench-functions` and `python -m benchmarks.bench_functions --report` from
`benchmarks/results/{table}`. {environment}
"""

TARGETS = """## Targets

What was aimed at before any of it was measured, with L-BFGS as the default:

{table}

What was tried for those that are missed: about fifty settings of the searches and of conjugate gradients (curvature
constants, first-step rules, shared trials, restarts) on these problems, of which the defaults are what is left. Then the
failures were looked at one by one, and three causes mended. L-BFGS's guard against pairs without curvature depended on the
units of f and refused every pair on Meyer's function; it is now the cosine between step and change of gradient. The loop
stopped after 20 iterations without a new lowest loss; now the direction starts afresh once before that (BFGS solves three
Chebyquad problems more). A search that uses up its evaluations for a gain within rounding counts as failed. None of it
is a setting, and on the whole L-BFGS solves no more for it: two Chebyquad problems now end in a minimum at 0.0095 that is not
listed, where one was solved and one ended at a saddle before. Box from 100x lies on a plateau at infinity, where the gradient
is rounding. Conjugate gradients count each forward-only trial as an evaluation here, though it costs a third of one: the column
"eq./iteration" has the price.
"""


OUTSIDE = """## Outside this set

A change of a default that helps here may hurt elsewhere. On a digits classifier (softmax, then squared error, five seeds)
L-BFGS comes to rest far above zero, in float32 and in float64 alike, so it is not rounding that stops it. The samples that
hold 99 % of the loss ("heavy") rest where their own class has probability 0 and the others share the rest evenly, k of them:
each loses (1 + 1/k)/10 there, to three digits, and gives no gradient. Cross-entropy has no such points. Made by
`python -m benchmarks.digits_stall`.

{table}
"""


def outside(table: Path) -> str:
    """Return what is measured outside the set, empty where the table is not there."""
    if not table.exists():
        return ""
    lines = [
        (row["seed"], row["dtype"], f"{float(row['loss']):.1e}", row["heavy"], row["at_rest"]) for row in read_table(table)
    ]
    return OUTSIDE.format(table=markdown_table(["seed", "dtype", "loss", "heavy samples", "of these at rest"], lines))


def summary(rows: Sequence[Cell]) -> str:
    """Return a line a solver: how many problems it solves in each group, and how near it is to the cheapest."""
    problems = list(dict.fromkeys(problem_of(row) for row in rows))
    by_ratio = ratios(costs_of(rows), problems)
    totals: dict[str, set[str]] = defaultdict(set)
    solved: dict[tuple[str, str], int] = defaultdict(int)
    mine: dict[str, list[Cell]] = defaultdict(list)
    for row in rows:
        totals[group_of(row)].add(problem_of(row))
        solved[solver_of(row), group_of(row)] += row["solved"] == "1"
        mine[solver_of(row)].append(row)
    header = ["solver", *(f"{group} ({len(totals[group])})" for group in GROUPS), f"all ({len(problems)})"]
    header += ["elsewhere", "cheapest", "within 2x", "median ratio", "evaluations/iteration", "eq./iteration", "seconds"]
    lines = []
    for solver in sorted(by_ratio, key=lambda name: -share_within(np.finfo(float).max, by_ratio[name])):
        values = by_ratio[solver]
        finite = values[np.isfinite(values)]
        counts = [solved[solver, group] for group in GROUPS]
        lines.append(
            [
                solver,
                *(str(count) for count in (*counts, sum(counts))),
                str(sum(row["elsewhere"] == "1" for row in mine[solver])),
                f"{share_within(1.0, values):.0%}",
                f"{share_within(2.0, values):.0%}",
                f"{np.median(finite):.2f}" if finite.size else "-",
                per_iteration(mine[solver], "evaluations"),
                per_iteration(mine[solver], "gradient_equivalents"),
                f"{sum(float(row['seconds']) for row in mine[solver]):.0f}",
            ]
        )
    return markdown_table(header, lines)


def cost_table(rows: Sequence[Cell]) -> str:
    """Return every solver's cost on every problem; bold the cheapest, `-` unsolved, empty not run."""
    costs = costs_of(rows)
    ran = {(solver_of(row), problem_of(row)) for row in rows}
    lines = []
    for problem in dict.fromkeys(problem_of(row) for row in rows):
        best = min((c[problem] for c in costs.values() if problem in c), default=None)
        line = [problem]
        for solver, by_problem in costs.items():
            cost = by_problem.get(problem)
            if cost is None:
                line.append("-" if (solver, problem) in ran else "")
            else:
                line.append(f"**{cost:.0f}**" if cost == best else f"{cost:.0f}")
        lines.append(line)
    return markdown_table(["problem, n, start", *(solver.replace("/", "<br>") for solver in costs)], lines)


def describe_environment(table: Path) -> tuple[dict[str, float], str]:
    """Return the limits and the tolerance of a table, and a sentence on the machine and the versions."""
    known = json.loads(table.with_suffix(".env.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    sentence = f"Processor: {known['processor']}, {known['threads']} thread; Python {known['python']}; {versions}."
    return {name: known[name] for name in ("budget", "tolerance", "limit_seconds")}, sentence


def write_report(table: Path, folder: Path = DOCS) -> None:
    """Write `NAME.md` and `NAME-profile.png` for the table `NAME.tsv` into the folder."""
    rows = read_table(table)
    numbers, sentence = describe_environment(table)
    plot = folder / f"{table.stem}-profile.png"
    draw(costs_of(rows), list(dict.fromkeys(problem_of(row) for row in rows)), plot)
    parts = [
        INTRODUCTION.format(**numbers, table=table.name, environment=sentence),
        TARGETS.format(table=targets(rows)),
        "## Summary\n",
        "Problems solved, by start and for n >= 100; then the share of all problems on which the solver is the cheapest,\n"
        "and on which it costs at most twice the cheapest; the median of its cost over the cheapest where it solves.\n",
        summary(rows) + "\n",
        f"![Performance profile: share of problems solved within a multiple of the cheapest cost]({plot.name})\n",
        outside(table_path("digits-stall")),
        "## Cost to solve, in gradient-equivalents\n",
        "Bold is the cheapest; `-` is not solved; an empty cell was not run (dense methods beyond n = 1,500).\n",
        cost_table(rows),
    ]
    (folder / f"{table.stem}.md").write_text("\n".join(parts) + "\n")
    print(f"wrote {table.stem}.md and {plot.name}")
