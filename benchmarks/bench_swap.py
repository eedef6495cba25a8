"""When to swap, rule beside rule: `python -m benchmarks.bench_swap`.

For each cell and seed the first phase is run once over the whole budget and recorded; rules that only look are replayed over
the record; the convex phase is run from each distinct epoch at which something swaps. What probes or goes back runs from the
start. Writes `benchmarks/results/swap-SCALE.tsv` (`swap.tsv` for the full scale, `swap-quick.tsv` with QUICK=1); problems and
seeds that are in it and are not run now stay in it, so that a large scale can be run in parts, with `--problems` and `--seeds`.
`--report` makes the page and the plot under `docs/benchmarks/` from a table and runs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

import homestretch
from benchmarks.process import SETTINGS, restart_with
from benchmarks.results_io import (
    CACHE,
    COLUMNS,
    Cache,
    fingerprint,
    is_quick,
    parser,
    read_table,
    table_path,
    write_environment,
    write_table,
)
from benchmarks.swap import (
    FIXED_SHARES,
    REPLAYED,
    SCALES,
    Cell,
    Record,
    cells_of,
    epoch_of_share,
    first_phase,
    live_methods,
    live_run,
    replay,
    swapped_run,
)
from benchmarks.swap.scoring import score
from homestretch.paper.data import DATA_VARIABLE

NAME = "swap"
EDITION = 1
"""Raise it when the cells or the way of counting change, so that cached runs are made again."""
EXTRA_COLUMNS = ("scale", "budget", "swap_epoch", "swap_share", "returns", "regret", "detail", "code")
_PHASES = ("two_phase", "swap", "resort", "convexity", "auto.py", "decision.py", "promotion.py", "trend.py")
_CONVEX = ("descent", "directions", "searches", "line.py", "moments.py", "preconditioners.py")
_BOTH = ("objective", "paper/data", "paper/models", "blocks.py", "cost.py", "memory.py", "vectors.py")
ENGINE = (*_PHASES, *_CONVEX, *_BOTH)
"""What of the package decides how a run goes."""


@cache
def code_version() -> str:
    """Return what changes whenever the code that the runs depend on does."""
    package = Path(homestretch.__file__).parent
    return fingerprint(*(package / name for name in ENGINE), Path(__file__).parent / "sciml")


class CellRuns:
    """All runs of one cell and seed, through the cache.

    Args:
        cell: the cell.
        seed: its seed.
        scale: the size it belongs to.
        cache: finished runs.
        folder: where states of the first phase are kept.
    """

    def __init__(self, cell: Cell, seed: int, scale: str, cache: Cache, folder: Path) -> None:
        self.cell = cell
        self.seed = seed
        self._cache = cache
        self._key = {"problem": cell.name, "scale": scale, "seed": seed, "budget": cell.budget}
        self._key |= {"version": code_version(), "edition": EDITION}
        self._states = folder / f"{scale}-{cell.name.replace('/', '-')}-{seed}-{code_version()}"
        self.first: Record = cache.run({**self._key, "run": "first phase"}, lambda: first_phase(cell, seed))
        self.labels = {"problem": cell.name, "size": self.first["parameters"], "seed": seed}
        self.labels |= {"scale": scale, "budget": cell.budget, "code": code_version()}

    def rows(self) -> list[Record]:
        """A row for each method."""
        rows = [self._row("torch", "adam", self._alone())]
        fixed = {f"fixed-{100 * share:.0f}": epoch_of_share(self.cell, share) for share in FIXED_SHARES}
        rows += [self._row("homestretch", name, self._from(epoch)) for name, epoch in fixed.items()]
        for name, make in REPLAYED.items():
            if name == "noise-scale" and not self.cell.mini_batches:
                continue  # full-batch gradients have no noise to measure
            found = replay(self.first, make())
            record = {**self._alone(), "status": "never swapped"} if found is None else self._from(found[0])
            rows.append(self._row("homestretch", name, {**record, "detail": found and found[1]}))
        for method in live_methods():
            if method.growth is not None and not self.cell.mini_batches:
                continue  # residuals are not samples
            record = self._cache.run({**self._key, "run": method.name}, lambda m=method: live_run(self.cell, self.seed, m))
            rows.append(self._row("homestretch" if method.two_phases else "torch", method.name, record))
        return rows

    def _alone(self) -> Record:
        first = self.first
        return {
            **first["end"],
            "gradient_equivalents": first["gradient_equivalents"],
            "evaluations": first["evaluations"],
            "seconds": first["seconds"][-1],
            "status": "budget",
        }

    def _from(self, epoch: int) -> Record:
        key = {**self._key, "run": f"swapped after {epoch}"}
        return self._cache.run(key, lambda: swapped_run(self.cell, self.seed, epoch, self._states))

    def _row(self, library: str, method: str, record: Record) -> Record:
        epoch = record.get("swap_epoch")
        share = None if epoch is None else epoch / self.cell.epochs
        return {**self.labels, "library": library, "method": method, **record, "swap_share": share}


def run(
    cells: Sequence[Cell], scale: str, cache: Cache, folder: Path, seeds: Sequence[int] | None = None
) -> Iterator[list[Record]]:
    """Yield the scored rows of all methods after each cell and seed, first seeds first; cached runs are not made again."""
    rows: list[Record] = []
    for seed in range(max((cell.seeds for cell in cells), default=0)):
        for cell in cells:
            if seed < cell.seeds and (seeds is None or seed in seeds):
                rows += CellRuns(cell, seed, scale, cache, folder).rows()
                print(f"{cell.name} seed {seed}: done", flush=True)
                yield score(rows)


def with_others(table: Path, rows: Sequence[Record], order: Sequence[str]) -> list[Record]:
    """Return the rows and the table's of other problems and seeds, in the order of the problems given, then of the seeds."""
    made = {(row["problem"], row["seed"]) for row in rows}
    known: list[Record] = [{**row, "seed": int(row["seed"])} for row in read_table(table)] if table.exists() else []
    others = [row for row in known if (row["problem"], row["seed"]) not in made and row["problem"] in order]
    return sorted([*rows, *others], key=lambda row: (order.index(row["problem"]), row["seed"]))


def found_cells(scale: str, folder: Path | None, names: Sequence[str] | None) -> list[Cell]:
    """The cells of a size whose data can be had, or those named; says which are left out."""
    cells = cells_of(scale, folder)
    if names:
        known = [cell.name for cell in cells]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise SystemExit(f"no such problem in scale {scale}: {', '.join(unknown)}; there are {', '.join(known)}")
        cells = [cell for cell in cells if cell.name in names]
    left_out = [cell.name for cell in cells if cell.needs and folder is None]
    if left_out:
        print(f"left out, as they need --data-dir or {DATA_VARIABLE} with the image sets: {', '.join(left_out)}")
    return [cell for cell in cells if cell.name not in left_out]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or make its report."""
    flags = parser(__doc__, quick=None)
    flags.add_argument("--scale", choices=SCALES, default="quick" if is_quick() else os.environ.get("SCALE", "small"))
    flags.add_argument("--data-dir", type=Path, default=os.environ.get(DATA_VARIABLE), help="folder of MNIST and CIFAR-10")
    flags.add_argument("--problems", nargs="+", metavar="NAME", help="only these")
    flags.add_argument("--seeds", nargs="+", type=int, metavar="N", help="only these, of 0, 1, 2, ...")
    flags.add_argument("--note", default="", help="a remark on the machine for the page: that it was busy, say")
    options: Any = flags.parse_args(arguments)
    table = table_path(NAME if options.scale == "full" else f"{NAME}-{options.scale}")
    if options.report:
        from benchmarks.swap.report import write_report

        write_report(table)
        return
    torch.set_num_threads(1)
    folder = Path(options.data_dir) if options.data_dir else None
    order = [cell.name for cell in cells_of(options.scale, folder)]
    rows: list[Record] = []
    cells = found_cells(options.scale, folder, options.problems)
    for made in run(cells, options.scale, Cache(NAME), CACHE / NAME, options.seeds):
        rows = with_others(table, made, order)
        write_table(table, rows, (*COLUMNS, *EXTRA_COLUMNS))
        write_environment(table, {"homestretch"}, scale=options.scale, note=options.note, settings=SETTINGS)
    print(f"wrote {table.name}: {len(rows)} rows")


if __name__ == "__main__":
    restart_with(SETTINGS, "benchmarks.bench_swap")
    main()
