"""What `second="auto"` rests on, measured: `python -m benchmarks.bench_choices`.

Each case of `benchmarks.choices` runs the methods that a rule decides between, from one start and for one processor time, and
asks `homestretch.auto` what it would pick. `--report` makes `docs/choosing.md` from the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.bench_sciml import SETTINGS
from benchmarks.choices import CASES, SMALL, Case
from benchmarks.functions_report import markdown_table
from benchmarks.process import restart_with
from benchmarks.results_io import COLUMNS, ROOT, Cache, Record, parser, read_table, table_path, write_environment, write_table
from benchmarks.sciml.ours import Method, engine_version, run_own
from benchmarks.sciml.start import started
from benchmarks.sciml_report import environment_of, spread
from homestretch.auto import DENSE, ITERATIONS, JACOBIAN, LEAST_SQUARES, SHARE, SURPLUS, choose

NAME = "choices"
EXTRA_COLUMNS = ("rule", "cpu_seconds", "iterations", "held_out", "picked", "detail")
FIRST_SEED = 10
PAGE = ROOT.parent / "docs" / "choosing.md"

TEXT = """# Choosing a method

`second="auto"` asks these questions in this order, picks, and says why in the run's record (the `swap` event), together with
what finding out cost in gradient-equivalents. It refuses nothing: there is always a choice.

1. Are the parameters sharded, on several devices or of several dtypes? `LBFGS`.
2. Is the loss a sum of squares (a `LeastSquares`, no weight decay) of up to {least_squares:,} float64 parameters with at least
   {surplus} per parameter, can its Jacobian be made point by point at the price of at most {jacobian:g} gradients, is there
   memory for it, and does the budget, where there is one, pay for {iterations} iterations? `LevenbergMarquardt`.
3. Are there up to {dense:,} parameters, and memory for a dense matrix? `SelfScaledBroyden`.
4. Otherwise `LBFGS`.

Dense matrices may take {share:.0%} of the memory at hand. Newton-CG, Gauss-Newton-CG and conjugate gradients are never picked:
on the ill-conditioned networks of [the benchmark](benchmarks/sciml.md) they are far behind. To choose yourself, name a method:
`second=LBFGS`.

## The measurement behind each rule

Same network, points, Adam warm-up and processor time for all methods of a case; median over seeds and quartiles. The error is
that at the lowest held-out loss (for the digits the share of held-out images that is classified wrongly). Bold is the lowest
median. **Read with care**: the limits of {surplus} per parameter and of {least_squares:,} parameters were settled by
these runs and a few like them. The fits ("waves" and "bumps" of one variable, "ripple" and "saddle" of two) and the equations
("cubic", `lap u = u^3 + f` on the unit square, and "diffusion", `u_t = 0.1 u_xx`) are not among the problems that [the
benchmark](benchmarks/sciml.md) reports; Poisson's equation is. Near a limit either side may win. A dense matrix of more than
{dense:,} parameters is left out for its memory, not for its errors.

In these runs an iteration of Levenberg-Marquardt took the time of {levenberg_marquardt} evaluations of L-BFGS on the same
problem, one of self-scaled Broyden that of {broyden} (medians by case, from the table's `cpu_seconds`, `iterations` and
`evaluations`). Where Levenberg-Marquardt ends higher it made too few iterations. Rounding is not the reason: on "waves" its
damping stayed far above the floor of the normal equations, and orthogonal factors (`solver="qr"`) came to the same errors,
later (measured once, not kept). A search over several dampings for each Jacobian was tried and did not pay.

Between 100 and 400 parameters the two are within a factor of 2.5 of each other after these 3 s. With 20 s (2 seeds, measured
once, not kept) self-scaled Broyden was level or ahead on "cubic" and "ripple" with 161 parameters and "diffusion" with 337, and
behind on "cubic" with 65. The limit on residuals is a guard against fitting the points alone; the errors on "waves" do not call
for it.

Made by `make bench-choices` and `python -m benchmarks.bench_choices --report` from `benchmarks/results/{table}`. {environment}
"""


def measure(case: Case, method: Method, seed: int, *, quick: bool) -> Record:
    """Make a run and return what is kept of it."""
    problem, adam = started(f"choice-{case.name}", seed, 20 if quick else case.steps, make=case.make)
    run = run_own(method, problem, adam, SMALL if quick else case.limits)
    return {"size": problem.size, **run.summary()}


def picked(case: Case) -> str:
    """Return what `auto` picks in a case, and why."""
    objective = case.make(FIRST_SEED).least_squares()
    choice = choose(objective.parameters, objective)
    return f"{choice.name}: {choice.reason}"


def rows_of(cases: Sequence[Case], cache: Cache, *, quick: bool) -> list[Record]:
    """Return a row for every run of every case; runs in the cache are not made again."""
    rows = []
    for case in cases:
        pick = picked(case)
        for seed in range(FIRST_SEED, FIRST_SEED + (1 if quick else case.seeds)):
            for method in case.methods:
                labels = {"problem": case.name, "seed": seed, "library": method.library, "method": method.method}
                key = {**labels, "version": method.version, "limits": str(SMALL if quick else case.limits), "steps": case.steps}
                record = cache.run(key, partial(measure, case, method, seed, quick=quick))
                rows.append({**labels, "rule": case.rule, "picked": pick, **record})
                print(f"{case.name} {seed} {method.method}: error {record['error']:.2e}", flush=True)
    return rows


def write_page(table: Path, page: Path = PAGE) -> None:
    """Write the guide from the table."""
    rows = read_table(table)
    numbers = {
        "least_squares": LEAST_SQUARES,
        "surplus": plural(SURPLUS, "residual"),
        "dense": DENSE,
        "share": SHARE,
        "jacobian": JACOBIAN,
    }
    numbers["iterations"] = ITERATIONS
    numbers |= {"levenberg_marquardt": step_times(rows, "LevenbergMarquardt"), "broyden": step_times(rows, "SelfScaledBroyden")}
    parts = [TEXT.format(table=table.name, environment=environment_of(table), **numbers)]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == rule]
        picks = {row["problem"]: row["picked"] for row in mine}
        parts += [f"### {rule}\n", rule_table(mine), ""]
        parts += [f"- {case}: `auto` picks {pick}." for case, pick in picks.items()]
        parts.append("")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts))
    print(f"wrote {page.name}")


def plural(count: float, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count:g} {noun}{'' if count == 1 else 's'}"


def step_times(rows: Sequence[dict[str, str]], method: str) -> str:
    """Return the range over all cases of a method's seconds an iteration over L-BFGS's seconds an evaluation."""
    ratios = []
    for case in dict.fromkeys(row["problem"] for row in rows):
        mine, unit = (
            [
                float(row["cpu_seconds"]) / max(float(row[per]), 1.0)
                for row in rows
                if (row["problem"], row["method"]) == (case, name)
            ]
            for name, per in ((method, "iterations"), ("LBFGS", "evaluations"))
        )
        if mine and unit:
            ratios.append(median(mine) / median(unit))
    return f"{min(ratios):.2g} to {max(ratios):.2g}" if ratios else "-"


def rule_table(rows: Sequence[dict[str, str]]) -> str:
    """Return a line for each case of a rule, a column a method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for case in dict.fromkeys(row["problem"] for row in rows):
        runs = {m: [row for row in rows if row["problem"] == case and row["method"] == m] for m in methods}
        middles = {m: median(float(r["error"]) for r in found) for m, found in runs.items() if found}
        line = [f"{case} ({plural(len(runs[methods[0]]), 'seed')}, {float(runs[methods[0]][0]['cpu_seconds']):.0f} s)"]
        for method in methods:
            cell = spread(float(r["error"]) for r in runs[method]) if runs[method] else ""
            line.append(f"**{cell}**" if cell and middles[method] == min(middles.values()) else cell)
        lines.append(line)
    return markdown_table(["case", *methods], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases, or write the page."""
    flags = parser(__doc__, quick="a few iterations of each")
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME, options.quick)
    if options.report:
        write_page(table)
        return
    torch.set_num_threads(1)
    write_table(table, rows_of(CASES, Cache(NAME), quick=options.quick), (*COLUMNS, *EXTRA_COLUMNS))
    write_environment(table, {"homestretch", "scikit-learn"}, engine=engine_version(), settings=SETTINGS)
    print(f"wrote {table.name}")


if __name__ == "__main__":
    restart_with(SETTINGS, "benchmarks.bench_choices")
    main()
