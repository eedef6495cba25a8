"""Smooth test functions, solver beside solver: `python -m benchmarks.bench_functions`.

Runs every solver of `benchmarks.peers` on every problem of `benchmarks.functions`, from the same start and within the
same budget of counted gradient-equivalents, and writes `benchmarks/results/functions.tsv`. `--report` makes the page and
the plot under `docs/benchmarks/` from that table and runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.functions import Problem, all_problems, quick_problems
from benchmarks.peers import SOLVERS, Solver, solve
from benchmarks.peers.certify import local_minimum
from benchmarks.peers.meter import BUDGET, TOLERANCE
from benchmarks.peers.ours import engine_version
from benchmarks.peers.scoring import Row, score
from benchmarks.results_io import COLUMNS, Cache, parser, table_path, write_environment, write_table

NAME = "functions"
EDITION = 1
"""Raise it when the problems or the way of counting change, so that cached runs are made again."""
SECONDS = 60.0
QUICK_BUDGET = 250.0
EXTRA_COLUMNS = (
    *("start", "solved", "cost_to_solve", "reference", "reference_kind", "elsewhere"),
    *("iterations", "products", "detail"),
)


def measure(solver: Solver, problem: Problem, budget: float) -> Row:
    """Run a solver on a problem and return what is kept of it."""
    meter, status, detail = solve(solver, problem, budget, SECONDS)
    seconds = meter.elapsed
    end = None if status == "solved" else meter.best_point
    return {
        "loss": meter.best,
        "gradient_equivalents": meter.cost,
        "evaluations": meter.evaluations,
        "products": meter.products,
        "iterations": meter.iterations,
        "seconds": seconds,
        "status": status,
        "detail": detail,
        "certified": None if end is None else local_minimum(problem, end),
        "trace": [[round(cost, 4), loss] for cost, loss in meter.trace],
    }


def run(problems: Sequence[Problem], solvers: Sequence[Solver], budget: float, cache: Cache) -> list[Row]:
    """Return a scored row for every solver on every problem it takes; runs in the cache are not made again."""
    rows = []
    for number, problem in enumerate(problems, 1):
        labels = {"problem": problem.name, "size": problem.size, "start": problem.start_name, "seed": 0}
        for solver in solvers:
            if not solver.takes(problem):
                continue
            names = {"library": solver.library, "method": solver.method}
            key = {**labels, **names, "version": solver.version, "budget": budget, "edition": EDITION, "limit": SECONDS}
            record = cache.run(key, lambda s=solver, p=problem: measure(s, p, budget))
            rows.append({**labels, **names, **record, "minima": problem.minima})
        print(f"{number}/{len(problems)} {problem.name} n={problem.size} from {problem.start_name}", flush=True)
    return score(rows)


def chosen_solvers(names: Sequence[str] | None) -> list[Solver]:
    """Return the solvers whose `library/method` or library was named, or all of them."""
    if not names:
        return list(SOLVERS)
    chosen = [solver for solver in SOLVERS if solver.name in names or solver.library in names]
    known = {solver.name for solver in SOLVERS} | {solver.library for solver in SOLVERS}
    unknown = sorted(set(names) - known)
    if unknown:
        raise SystemExit(f"no such solver: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or make its report."""
    flags = parser(__doc__)
    flags.add_argument("--solvers", nargs="+", metavar="LIBRARY[/METHOD]", help="only these; the table is not written")
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME, options.quick)
    if options.report:
        from benchmarks.functions_report import write_report

        write_report(table)
        return
    torch.set_num_threads(1)
    solvers = chosen_solvers(options.solvers)
    problems = quick_problems() if options.quick else all_problems()
    budget = QUICK_BUDGET if options.quick else BUDGET
    rows = run(problems, solvers, budget, Cache(NAME))
    if options.solvers:
        for row in rows:
            cost = "-" if row["cost_to_solve"] is None else f"{row['cost_to_solve']:.1f}"
            print(f"{row['problem']:28} {row['size']:6} {row['start']:5} {row['library']}/{row['method']:20} {cost:>8}")
        return
    write_table(table, rows, (*COLUMNS, *EXTRA_COLUMNS))
    libraries = {solver.library for solver in SOLVERS}
    more = {"budget": budget, "tolerance": TOLERANCE, "limit_seconds": SECONDS, "engine": engine_version()}
    write_environment(table, libraries, **more)
    print(f"wrote {table.name}: {sum(row['solved'] for row in rows)} of {len(rows)} runs solved")


if __name__ == "__main__":
    main()
