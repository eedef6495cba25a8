"""What the machinery costs beside the evaluations it drives: `python -m benchmarks.bench_overhead`.

Times iterations, passes and mini-batch epochs, and counts bytes, for `benchmarks/results/overhead.tsv`. Times are those of
the processor, not of the clock, on one thread, so that other programs disturb them less. `--report` makes the page under
`docs/benchmarks/` from that table and runs nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.overhead import (
    CASES,
    METHODS,
    full_pass,
    iteration_overhead,
    mini_batches,
    pairs_read,
    pass_memory,
    vectors_kept,
)
from benchmarks.overhead.iterations import DENSE
from benchmarks.results_io import COLUMNS, ROOT, Cache, fingerprint, parser, table_path, write_environment, write_table

NAME = "overhead"
SEEDS = 5
EXTRA_COLUMNS = ("samples", "measure", "value", "unit", "target", "detail")
PASS_TARGET, EPOCH_TARGET = 0.05, 0.10
_CODE = ("descent", "directions", "searches", "objective", "two_phase", "line.py", "vectors.py", "blocks.py")

Record = dict[str, Any]


class Measurement(NamedTuple):
    """One run: what identifies it, how to make it, and what it should be."""

    labels: Record
    unit: str
    target: float | None
    run: Callable[[], dict[str, float]]


def measurements(quick: bool) -> Iterator[Measurement]:
    """All runs, the short ones of them for the quick table."""
    seeds = range(1 if quick else SEEDS)
    names = ("poisson-2d", "dense-5e4") if quick else tuple(CASES)
    for seed in seeds:
        for name in names:
            case = CASES[name]
            for method in METHODS:
                if method not in DENSE or case.dense:
                    labels = _labels(name, case.samples, seed, method, "iteration")
                    yield Measurement(labels, "share", case.target, partial(iteration_overhead, case, method, seed))
            labels = _labels(name, case.samples, seed, "LBFGS", "pairs read")
            yield Measurement(labels, "share", None, partial(pairs_read, case, seed))
        for name, repeats in (("dense-5e4", 10),) if quick else (("dense-5e4", 40), ("mnist/vit-nomlp", 3)):
            case = CASES[name]
            for measure, target, run in (("pass", PASS_TARGET, full_pass), ("epoch", EPOCH_TARGET, mini_batches)):
                labels = _labels(name, case.samples, seed, "Objective" if measure == "pass" else "TwoPhase", measure)
                yield Measurement(labels, "share", target, partial(run, case, seed, repeats))
    for method, preconditioned in (("ConjugateGradient", False), ("ConjugateGradient preconditioned", True)):
        labels = _labels("dense", 256, 0, method, "vectors")
        yield Measurement(labels, "vectors", 4.0 if preconditioned else 3.0, partial(vectors_kept, preconditioned))
    for samples in (1000, 4000, 16000):
        labels = _labels("dense-5e4", samples, 0, "Objective", "pass memory")
        yield Measurement(labels, "bytes", None, partial(pass_memory, samples))


def _labels(problem: str, samples: int, seed: int, method: str, measure: str) -> Record:
    return {
        "problem": problem,
        "samples": samples,
        "seed": seed,
        "library": "homestretch",
        "method": method,
        "measure": measure,
    }


def run(quick: bool, cache: Cache) -> list[Record]:
    """Return a row for every measurement; runs in the cache are not made again."""
    engine = fingerprint(*(ROOT.parent / "homestretch" / name for name in _CODE), ROOT / "overhead")
    rows = []
    for measurement in measurements(quick):
        key = {**measurement.labels, "engine": engine, "torch": torch.__version__}
        found = cache.run(key, partial(_timed, measurement))
        rows.append({**measurement.labels, **found, "unit": measurement.unit, "target": measurement.target})
        print(
            f"{rows[-1]['problem']} {rows[-1]['method']} {rows[-1]['measure']}: {found['value']:.4g} {measurement.unit}",
            flush=True,
        )
    return rows


def _timed(measurement: Measurement) -> Record:
    started = time.perf_counter()
    found = measurement.run()
    detail = "; ".join(
        f"{name} {value:.4g}" for name, value in found.items() if name not in ("value", "evaluations", "seconds")
    )
    name = measurement.labels["problem"]
    size = sum(p.numel() for p in CASES[name].build(0, 64)[0].parameters()) if name in CASES else None
    return {
        "size": size,
        "value": found["value"],
        "evaluations": found.get("evaluations"),
        "seconds": time.perf_counter() - started,
        "status": "done",
        "detail": detail,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or make its report."""
    flags = parser(__doc__)
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME, options.quick)
    if options.report:
        from benchmarks.overhead_report import write_report

        write_report(table)
        return
    torch.set_num_threads(1)
    rows = run(options.quick, Cache(NAME))
    write_table(table, rows, (*COLUMNS, *EXTRA_COLUMNS))
    write_environment(table, (), load=os.getloadavg()[1])
    print(f"wrote {table.name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
