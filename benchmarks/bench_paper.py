"""The paper's cells, recipe beside recipe: `python -m benchmarks.bench_paper`.

Runs what is missing of the cells (`homestretch paper table` with this benchmark's choice of them), then writes
`benchmarks/results/paper.tsv` with the columns that all benchmarks share, `paper.parquet` with everything that is known of
each run and `paper-epochs.parquet` with its course. The printed protocol is measured twice at the first seed: at equal cost,
and where its epochs are made if an iteration is counted as one. The docs page is made from these by `homestretch paper report`.
`--size full` is the paper's own size, a GPU's work (`--device cuda`), and has tables of its own, `paper-full`. Runs that are
in a table already and not in the folder of the cells, because another machine made them, are kept.
The image sets are read from the folder that the environment variable `HOMESTRETCH_DATA` names or, without it, by their hub
names (`pip install -e '.[hub]'`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results_io import CACHE, COLUMNS, is_quick, table_path, write_environment, write_table
from homestretch.errors import DataError
from homestretch.paper.settings import RECIPES
from homestretch.paper.table.cells import PAPER_RECIPES, VISION_MODELS, Cell, Machine, SizeName, cells
from homestretch.paper.table.outcome import Outcome, collect
from homestretch.paper.table.outcome import read_table as read_outcomes
from homestretch.paper.table.outcome import write_table as write_outcomes
from homestretch.paper.table.traces import read_histories, read_traces, write_traces
from homestretch.paper.table.workers import check_cells, run_cells

NAME = "paper"
EXTRA_COLUMNS = (
    "accounting",
    "train_accuracy",
    "validation_accuracy",
    "validation_top5",
    "parameters",
    "overdetermination",
    "epochs",
    "swap_epoch",
    "returns",
)
PEERS = ("adam", "adam-cosine", "adamw-cosine", "lbfgs")
CPU_PIECE, GPU_PIECE = 64, 10_000
"""Samples in one piece of a full pass: a CPU's caches hold the activations of few images of the convolutional network (see
`benchmarks.bench_passes --micro-batch`), a GPU is idle with few."""


def todo(quick: bool, size: SizeName = "tenth") -> list[Cell]:
    """Return the cells of the benchmark: MNIST and CIFAR-10 in a size, with a tenth the small text, or the tiny digits."""
    if quick:
        return cells(["digits"], ["vit-nomlp-wkewq-wvwo"], list(RECIPES), [0], "tiny")
    images = cells(["mnist", "cifar-10"], VISION_MODELS, PAPER_RECIPES, [], size)
    if size != "tenth":
        return images
    return images + cells(["python-docs"], VISION_MODELS, [*PAPER_RECIPES, "lbfgs-adam-30", "cg-adam-30"], [], "small")


def _run(chosen: Sequence[Cell], machine: Machine, out: Path, workers: int) -> list[Cell]:
    """Run the cells; the printed protocol's at the first seed to equal epochs too.

    Raises:
        SystemExit: If a set cannot be found or read, or the machine cannot be used: before any cell begins.
    """
    both = [cell for cell in chosen if cell.recipe == "golden-30" and cell.seed == chosen[0].seed]
    rest = [cell for cell in chosen if cell not in both]
    try:
        check_cells(rest, machine, out)
        check_cells(both, machine, out, ("cost", "printed"))
    except (DataError, ValueError) as error:
        raise SystemExit(str(error)) from error
    failed = run_cells(rest, machine, out, workers=workers, say=_say)
    return failed + run_cells(both, machine, out, accountings=("cost", "printed"), workers=workers, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def tidy(outcome: Outcome) -> dict[str, Any]:
    """Return a run as a row of the shared columns; its error is the validation loss."""
    return {
        "problem": outcome.problem,
        "size": outcome.size,
        "seed": outcome.seed,
        "library": "torch" if outcome.recipe in PEERS else "homestretch",
        "method": outcome.recipe,
        "loss": outcome.train_loss,
        "error": outcome.validation_loss,
        "gradient_equivalents": outcome.gradient_equivalents,
        "evaluations": outcome.evaluations,
        "seconds": outcome.seconds,
        "status": outcome.stop,
        **{name: getattr(outcome, name) for name in EXTRA_COLUMNS},
    }


def keep(folders: Sequence[Path], table: Path) -> int:
    """Write the results of all finished cells in `folders`, and those that `table` has of others; return how many runs."""
    parquet, courses = table.with_suffix(".parquet"), table.with_name(f"{table.stem}-epochs.parquet")
    known = {_key(outcome): outcome for outcome in (read_outcomes(parquet) if parquet.exists() else [])}
    known |= {_key(outcome): outcome for folder in folders for outcome in collect(folder)}
    outcomes = [known[key] for key in sorted(known)]
    histories = read_traces(courses) if courses.exists() else {}
    histories |= {key: history for folder in folders for key, history in read_histories(folder).items()}
    write_table(table, [tidy(outcome) for outcome in outcomes], (*COLUMNS, *EXTRA_COLUMNS))
    aside, tsv = write_outcomes(outcomes, table.parent, f"{table.stem}-all")
    aside.replace(parquet)
    tsv.unlink()
    write_traces(histories, courses)
    write_environment(table, ["homestretch"], versions_of_runs=sorted({outcome.version for outcome in outcomes}))
    return len(outcomes)


def _key(outcome: Outcome) -> tuple[str, str, str, int, str, str]:
    return outcome.size, outcome.set, outcome.model, outcome.seed, outcome.recipe, outcome.accounting


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or only gather what was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", default=is_quick(), help="the reduced set (also QUICK=1)")
    parser.add_argument("--out", type=Path, default=CACHE / NAME, help="folder of the cells, one folder a size in it")
    parser.add_argument("--workers", type=int, default=1, help="cells at a time")
    parser.add_argument("--size", choices=("tenth", "full"), default="tenth", help="of the image sets and of the runs")
    parser.add_argument("--device", default="cpu", help="where to train")
    parser.add_argument(
        "--micro-batch", type=int, help="samples in one piece of a full pass, 0 for the most; else 64 on a CPU, or 10,000"
    )
    parser.add_argument("--compile", action="store_true", help="compile the models, which is faster on a GPU")
    parser.add_argument("--gather", action="store_true", help="run nothing, write the results of what is finished")
    options: Any = parser.parse_args(arguments)
    chosen = todo(options.quick, options.size)
    failed: list[Cell] = []
    for size in dict.fromkeys(cell.size for cell in chosen):
        if not options.gather:
            usual = CPU_PIECE if options.device == "cpu" else GPU_PIECE
            piece = usual if options.micro_batch is None else options.micro_batch
            machine = replace(Machine(), device=options.device, compile=options.compile, micro_batch=piece)
            part = [cell for cell in chosen if cell.size == size]
            failed += _run(part, machine, options.out / size, options.workers)
    folders = [options.out / size for size in dict.fromkeys(cell.size for cell in chosen)]
    table = table_path(NAME if options.size == "tenth" else f"{NAME}-{options.size}", options.quick)
    print(f"wrote {table.name}: {keep(folders, table)} runs, {len(failed)} cells failed")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
