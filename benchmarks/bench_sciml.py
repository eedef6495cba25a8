"""Regression and physics-informed networks, method beside method: `python -m benchmarks.bench_sciml`.

Every method of ours and every peer starts from the same Adam warm-up and gets the same processor time. Runs are cached
one by one. `--table` writes the table from the runs that are there, `--report` makes the page and the plots from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import process
from benchmarks.results_io import (
    COLUMNS,
    Cache,
    Record,
    known_processor,
    parser,
    processor,
    read_table,
    table_path,
    write_environment,
    write_table,
)
from benchmarks.sciml import PROBLEMS
from benchmarks.sciml.flat import FlatProblem, TracedMeter
from benchmarks.sciml.ours import METHODS, Limits, Method, Run, engine_version, run_own
from benchmarks.sciml.peers import PEERS, Peer, run_peer
from benchmarks.sciml.reading import read_traces
from benchmarks.sciml.start import EDITION, started

NAME = "sciml"
SEEDS = (10, 11, 12, 13, 14)
"""Settings of ours were explored on seeds 0 to 4; these are fresh."""
SECONDS = {"poisson-2d": 30.0, "convection": 60.0, "burgers": 60.0}
"""Processor time of a run; five seconds where none is named."""
LONGER = {
    ("convection", "homestretch/auto-continuation"): 480.0,
    ("burgers", "homestretch/auto"): 600.0,
    ("burgers", "ssbroyden-optimistix/SSBroyden"): 600.0,
}
"""That of the runs which a problem's target is about."""
ITERATIONS = {"burgers": 10_000}
QUICK_PROBLEMS = ("zoo-sin-64", "poisson-2d")
QUICK = Limits(seconds=0.7, iterations=200)
_RESULTS = ("cpu_seconds", "iterations", "held_out", "start_error", "end_error")
EXTRA_COLUMNS = (*_RESULTS, "limit_seconds", "version", "processor", "detail")
SETTINGS = {**process.SETTINGS, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
"""The environment that all libraries run in alike."""


@dataclass(frozen=True)
class Job:
    """One run to make."""

    problem: str
    seed: int
    method: Method | Peer
    limits: Limits
    warm_up: int | None = None

    @property
    def key(self) -> Record:
        """What identifies the run."""
        return {
            "problem": self.problem,
            "seed": self.seed,
            "library": self.method.library,
            "method": self.method.method,
            "version": self.method.version,
            "limits": [str(limit) for limit in astuple(self.limits)],
            "warm_up": self.warm_up,
            "edition": EDITION,
        }


def measure(job: Job) -> Record:
    """Make a run and return what is kept of it."""
    problem, adam = started(job.problem, job.seed, job.warm_up)
    start_error = problem.error()
    if isinstance(job.method, Peer):
        flat = FlatProblem(problem)
        flops, limits = job.method.update(problem.size), job.limits
        meter = TracedMeter(flat, limits.budget, limits.seconds, limits.iterations, flops)
        status, detail = run_peer(job.method, meter)
        run = Run(meter.samples, status, detail, meter.evaluations, meter.iterations)
    else:
        run = run_own(job.method, problem, adam, job.limits)
    return {
        "size": problem.size,
        **run.summary(),
        "start_error": start_error,
        "end_error": run.samples[-1].error,
        "trace": [[float(f"{value:.5g}") for value in sample] for sample in run.samples],
    }


def jobs(problems: Sequence[str], methods: Sequence[Method | Peer], seeds: Sequence[int], quick: bool) -> Iterator[Job]:
    """Return all runs, every method once before the next seed."""
    for problem in problems:
        example = PROBLEMS[problem](0)
        fitting = [m for m in methods if example.size <= m.largest and (example.stages or not _continues(m))]
        for seed in seeds:
            for method in fitting:
                yield Job(problem, seed, method, QUICK if quick else limits_of(problem, method), 300 if quick else None)


def limits_of(problem: str, method: Method | Peer) -> Limits:
    """Return where a method's run on a problem ends."""
    seconds = LONGER.get((problem, _names(method)[0]), SECONDS.get(problem, 5.0))
    return Limits(seconds, ITERATIONS.get(problem, float("inf")))


def _continues(method: Method | Peer) -> bool:
    return isinstance(method, Method) and method.continuation


def run(todo: Sequence[Job], cache: Cache, *, make: bool) -> list[Record]:
    """Return a row for every job; those in the cache are not made again, and with `make` false no others either."""
    rows = []
    for number, job in enumerate(todo, 1):
        if not make and job.key not in cache:
            continue
        record = cache.run(job.key, lambda j=job: measure(j))
        row = {"problem": job.problem, "seed": job.seed, "library": job.method.library, "method": job.method.method}
        row |= {"limit_seconds": job.limits.seconds, "version": job.method.version, "processor": processor()}
        rows.append({**row, **record})
        if make:
            name = f"{job.problem} {job.seed} {job.method.library}/{job.method.method}"
            print(
                f"{number}/{len(todo)} {name}: error {record['error']:.2e} after {record['cpu_seconds']:.1f} s "
                f"({record['iterations']} iterations, {record['status']})",
                flush=True,
            )
    return rows


def with_others(table: Path, rows: Sequence[Record]) -> list[Record]:
    """Return the rows, and those of a table for runs that are not among them: another machine made these."""
    if not table.exists():
        return list(rows)
    made = {_label(row) for row in rows}
    traces = read_traces(table.with_name(f"{table.stem}-trace.parquet"))
    others: list[Record] = [{"processor": known_processor(table), **row, "seed": int(row["seed"])} for row in read_table(table)]
    for row in others:
        row["trace"] = traces[row["problem"], f"{row['library']}/{row['method']}", row["seed"]]
    order = {problem: number for number, problem in enumerate(PROBLEMS)}
    return sorted([*rows, *(row for row in others if _label(row) not in made)], key=lambda r: (order[r["problem"]], r["seed"]))


def _label(row: Record) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("problem", "seed", "library", "method"))


def write_traces(table: Any, rows: Sequence[Record]) -> None:
    """Write all traces to `NAME-trace.parquet` beside the table, in single precision."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.sciml.trace import Sample

    labels = ("problem", "seed", "library", "method")
    lines = [{**{k: r[k] for k in labels}, **dict(zip(Sample._fields, s, strict=True))} for r in rows for s in r["trace"]]
    short = {name: pa.float32() for name in Sample._fields}
    fields = [(k, pa.int32() if k == "seed" else pa.string()) for k in labels] + list(short.items())
    data = pa.Table.from_pylist(lines, schema=pa.schema(fields))
    pq.write_table(data, table.with_name(f"{table.stem}-trace.parquet"), compression="zstd")


def chosen(names: Sequence[str] | None) -> list[Method | Peer]:
    """Return the methods named by `library/method`, library or method; all if none is named."""
    known: list[Method | Peer] = [*METHODS, *PEERS]
    if not names:
        return known
    unknown = [n for n in names if not any(n in _names(m) for m in known)]
    if unknown:
        raise SystemExit(f"no such method: {', '.join(unknown)}; choose from {', '.join(_names(m)[0] for m in known)}")
    return [m for m in known if any(n in _names(m) for n in names)]


def _names(method: Method | Peer) -> tuple[str, str, str]:
    return f"{method.library}/{method.method}", method.library, method.method


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its table, or make its page."""
    flags = parser(__doc__, quick="the smoke set")
    flags.add_argument("--problems", nargs="+", metavar="NAME", choices=list(PROBLEMS), help="only these")
    flags.add_argument("--methods", nargs="+", metavar="LIBRARY[/METHOD]", help="only these")
    flags.add_argument("--seeds", nargs="+", type=int, help="seeds other than the usual ones")
    flags.add_argument("--seconds", type=float, help="processor time of a run, in place of the usual one")
    flags.add_argument("--table", action="store_true", help="write the table from the finished runs, make none")
    flags.add_argument("--prices", action="store_true", help="measure what dense work takes beside a gradient, no more")
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME, options.quick)
    if options.report:
        from benchmarks.sciml_report import write_report

        write_report(table)
        return
    torch.set_num_threads(1)
    if options.prices:
        from benchmarks.sciml import prices

        names = options.problems or ("zoo-sin-64", "zoo-runge-256", "poisson-2d", "burgers")
        rows = [row for name in names for row in prices.prices(name)]
        write_table(table.with_name(f"{NAME}-prices.tsv"), rows, prices.COLUMNS)
        return
    if options.seconds:
        SECONDS.update(dict.fromkeys(PROBLEMS, options.seconds))
        LONGER.clear()
    partial = bool(options.problems or options.methods or options.seeds or options.seconds) and not options.table
    problems = options.problems or (QUICK_PROBLEMS if options.quick else tuple(PROBLEMS))
    seeds = options.seeds or (SEEDS[:1] if options.quick else SEEDS)
    todo = list(jobs(problems, chosen(options.methods), seeds, options.quick))
    rows = run(todo, Cache(NAME), make=not options.table)
    if partial:
        return
    if not options.quick:
        rows = with_others(table, rows)
    write_table(table, rows, (*COLUMNS, *EXTRA_COLUMNS))
    write_traces(table, rows)
    libraries = {job.method.library for job in todo} | {"jax"}
    write_environment(table, libraries, engine=engine_version(), settings=SETTINGS)
    print(f"wrote {table.name}: {len(rows)} runs, of {len(todo)} planned")


if __name__ == "__main__":
    process.restart_with(SETTINGS, "benchmarks.bench_sciml")
    main()
