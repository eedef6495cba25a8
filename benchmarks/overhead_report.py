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

**Read with care.** Each share compares times taken in turn in one process, so that other programs slow both. What these do to
the caches remains, and shows on short evaluations.

## Iterations

Time of an iteration less that of its evaluations, over the latter, after a warm-up that fills L-BFGS's 50 pairs. The
milliseconds are those beside the evaluations in an iteration and those of one evaluation, with a gradient or forward only.
`poisson-2d` is the physics-informed network of `make bench-sciml`; `mnist/vit-nomlp` the paper's model on 5,000 images; the
dense networks have the fewest operations a parameter that a network can have, so they are the hardest of their size. Images
are drawn at random.

{iterations}

### L-BFGS: what is left is reading its pairs

Inner products with 50 pairs, and then their weighted sum, need two passes over 100 stored vectors, however it is written down.
The next table times those passes and nothing else, in turn with evaluations, and is thus the least share that 50 pairs can
have: on the dense networks it is far above the target. The iterations above make a third pass, for the products with the
newest pair.

{least}

Left out, and why:

- The third pass can be saved, as the products with the newest gradient difference are differences of products with two
  gradients. They are differences of large numbers: the small matrices then disagree with the stored pairs by the rounding of a
  whole gradient over that of its change, and in float32 the matrix they make need not be positive definite.
- One pass for two vectors at once was tried, as a matrix product with two columns and in pieces that fit the cache. It took as
  long as two passes.
- Fewer pairs make the share smaller in proportion: `LBFGS(params, memory=10)` reads a fifth. The default stays at 50: in
  networks that use a weight more than once a sample, as transformers do, the share is small anyway.

### Small problems: what is left is the number of calls

With 257 parameters reading vectors takes no time: what an iteration costs is the overhead of some hundred short calls of torch
functions. At commit 1601443 the same measurement, in turn with this version's and under the same load, gave 20 % for conjugate
gradients, 44 % for L-BFGS and 29 % for self-scaled Broyden on `poisson-2d`, and this version's 17 %, 38 % and 27 % (median of
four, measured once, not kept). Since then vectors are packed by one call, a function is asked once for each class whether it
takes part in the loop, and slope and norms come in one reduction with each evaluation and each direction. Two things were left
out. An explicit inverse would save L-BFGS's two triangular solves, and is less accurate. Keeping the products of its pairs with
the latest gradient would save half of the products, and they are wrong once the function has changed.

### Conjugate gradients on large dense networks

Where the search probes the line once and needs one gradient, an iteration makes ten inner products and ten passes that add or
copy, over vectors that may no longer fit the cache. Inner products of long float32 vectors are added up piece by piece, without
a temporary copy: at commit 1601443 the share at a million parameters was 4.2 % where it is 1.7 % now (one seed each, in turn,
measured once, not kept). Making several products together, so that each piece is read once, was tried: it gained little in
float32 and lost in float64.

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
        environment=f"Processor: {known['processor']}, {known['threads']} thread; Python {known['python']}; {versions}; "
        f"{known['cores']} cores at a load of {known['load']:.1f}.",
        iterations=_shares(rows, ("iteration",)),
        least=_least(rows),
        passes=_shares(rows, ("pass", "epoch")),
        memory=_memory(rows),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{table.stem}.md").write_text(page)
    print(f"wrote {table.stem}.md")


def _shares(rows: Sequence[Cell], measures: Sequence[str]) -> str:
    lines = []
    for (problem, size, samples, method), members in _grouped(rows, measures).items():
        low, middle, high = np.percentile([float(row["value"]) for row in members], (25, 50, 75))
        target = float(members[0]["target"])
        share, met = f"{middle:.1%} [{low:.1%}, {high:.1%}]", "yes" if middle <= target else "**no**"
        times = [_median(members, name) for name in ("overhead_ms", "evaluation_ms") if name in _detail(members[0])]
        lines.append([problem, f"{int(size):,}", f"{int(samples):,}", method, share, f"{target:.0%}", met, *times])
    names = ["problem", "parameters", "samples", "what", "share", "target", "met", "beside, ms", "evaluation, ms"]
    return markdown_table(names[: len(lines[0])], lines)


def _least(rows: Sequence[Cell]) -> str:
    names = ("evaluation_ms", "reading_ms", "gigabytes_per_second")
    lines = []
    for (problem, size, _, _), members in _grouped(rows, ("pairs read",)).items():
        share = f"{np.median([float(row['value']) for row in members]):.1%}"
        lines.append([problem, f"{int(size):,}", *(_median(members, name) for name in names), share])
    return markdown_table(["problem", "parameters", "evaluation, ms", "two passes, ms", "GB/s", "least share"], lines)


def _grouped(rows: Sequence[Cell], measures: Sequence[str]) -> dict[tuple[str, ...], list[Cell]]:
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for row in rows:
        if row["measure"] in measures:
            groups.setdefault((row["problem"], row["size"], row["samples"], row["method"]), []).append(row)
    return groups


def _detail(row: Cell) -> dict[str, float]:
    return {name: float(value) for name, value in (part.split(" ") for part in row["detail"].split("; ") if part)}


def _median(members: Sequence[Cell], name: str) -> str:
    return f"{np.median([_detail(row)[name] for row in members]):.3g}"


def _memory(rows: Sequence[Cell]) -> str:
    lines = []
    for row in rows:
        if row["measure"] == "vectors":
            most = _detail(row)["most"]
            kept = f"{float(row['value']):.2f} vectors (target {float(row['target']):.0f}), {most:.2f} while searching"
            lines.append([row["method"], kept])
        if row["measure"] == "pass memory":
            lines.append([f"full pass over {int(row['samples']):,} samples", f"{float(row['value']) / 1e6:.3f} MB at most"])
    return markdown_table(["what", "memory"], lines)
