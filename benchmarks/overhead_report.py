"""The docs page on the cost of the machinery, made from `benchmarks/results/overhead.tsv`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.functions_report import markdown_table
from benchmarks.results_io import ROOT, read_table

DOCS = ROOT.parent / "docs" / "benchmarks"
Cell = Mapping[str, str]

PAGE = """# Cost of the machinery

What an iteration costs beside the evaluations of the loss that it asks for, what conjugate gradients keep in memory, and what
passes over the data cost beside the loops a user would write. One thread; times are the processor's, not the clock's; median
over the seeds, quartiles in brackets.

Made by `make bench-overhead` and `python -m benchmarks.bench_overhead --report` from `benchmarks/results/{table}`.
{environment}

## Iterations

Time of an iteration less that of its evaluations, over the latter, after a warm-up that fills L-BFGS's 50 pairs.
`poisson-2d` is the physics-informed network of `make bench-sciml`; `mnist/vit-nomlp` the paper's model on 5,000 images; the
dense networks have the fewest operations a parameter that a network can have, so they are the hardest of their size. Images
are drawn at random.

{iterations}

L-BFGS reads its 2 x 50 stored vectors three times an iteration, whatever the loss: beside a dense network on 5,000 samples that
is 300 vector reads against some 30,000 operations a parameter, and no way of writing it down removes them. Fewer pairs
(`LBFGS(params, memory=10)`), more samples or weights that are used more than once, as in a transformer, make the share small.

## Passes over the data

By how much a full pass of `Objective` with gradients takes longer than a bare forward and backward loop over the same
micro-batches, and an epoch of `TwoPhase` before the swap, its gradient norm and record included, longer than a bare loop of
Adam.

{passes}

## Memory

Vectors of the parameters' size that `ConjugateGradient` keeps beside parameters, gradient and Adam's own state, and the most
there are while a search evaluates the loss (one more while a trial is better than the last one). Peak bytes of a full pass by
the size of the data, in micro-batches of 512. Counted, not timed.

{memory}
"""


def write_report(table: Path, folder: Path = DOCS) -> None:
    """Write `NAME.md` for the table `NAME.tsv` into the folder."""
    rows = read_table(table)
    known = json.loads(table.with_suffix(".env.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    page = PAGE.format(
        table=table.name,
        environment=f"Processor: {known['processor']}, {known['threads']} thread; Python {known['python']}; {versions}.",
        iterations=_shares(rows, ("iteration",)),
        passes=_shares(rows, ("pass", "epoch")),
        memory=_memory(rows),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{table.stem}.md").write_text(page)
    print(f"wrote {table.stem}.md")


def _shares(rows: Sequence[Cell], measures: Sequence[str]) -> str:
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for row in rows:
        if row["measure"] in measures:
            groups.setdefault((row["problem"], row["size"], row["samples"], row["method"]), []).append(row)
    lines = []
    for (problem, size, samples, method), members in groups.items():
        low, middle, high = np.percentile([float(row["value"]) for row in members], (25, 50, 75))
        target = float(members[0]["target"])
        share, met = f"{middle:.1%} [{low:.1%}, {high:.1%}]", "yes" if middle <= target else "**no**"
        lines.append([problem, f"{int(size):,}", f"{int(samples):,}", method, share, f"{target:.0%}", met])
    return markdown_table(["problem", "parameters", "samples", "what", "share", "target", "met"], lines)


def _memory(rows: Sequence[Cell]) -> str:
    lines = []
    for row in rows:
        if row["measure"] == "vectors":
            most = dict(part.split(" ") for part in row["detail"].split("; "))["most"]
            kept = f"{float(row['value']):.2f} vectors (target {float(row['target']):.0f}), {float(most):.2f} while searching"
            lines.append([row["method"], kept])
        if row["measure"] == "pass memory":
            lines.append([f"full pass over {int(row['samples']):,} samples", f"{float(row['value']) / 1e6:.3f} MB at most"])
    return markdown_table(["what", "memory"], lines)
