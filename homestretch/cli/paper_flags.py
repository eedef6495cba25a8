"""The commands below ``homestretch paper``; their names are those of the classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homestretch.paper.settings import Data, Model, Named
from homestretch.paper.table.cells import PAPER_RECIPES, VISION_MODELS, SizeName

_AT_HAND = ("digits", "python-docs")


def check_data_dir(folder: Path | None, sets: Collection[Data]) -> None:
    """Refuse a folder of image sets where none is read from it.

    Raises:
        ValueError: If a folder is given and all sets come with what is installed.
    """
    if folder is not None and all(name in _AT_HAND for name in sets):
        raise ValueError(
            f"--data-dir {folder} has no effect, as {' and '.join(sets)} come with what is installed: leave it out, or name "
            "a set that is read from there"
        )


@dataclass(frozen=True)
class Models:
    """Print set, model, parameters P and overdetermination ratio Q of every cell of the paper's table 1.

    Attributes:
        format: How to print.
    """

    format: Literal["table", "tsv", "markdown"] = "table"


@dataclass(frozen=True)
class Table:
    """Run the cells of the paper's table that are not finished yet, and print what they came to.

    Every finished cell is kept: after an interruption of whatever kind the same command goes on where it was.

    Attributes:
        sets: The data; python-docs is the text that comes with Python, with a model of its own.
        models: The paper's models.
        recipes: Names of recipes, as for compare. Adam alone is always run, as the others start from its first epochs.
        seeds: Seeds; without any, three for the transformers and one for the others.
        size: full is the paper's, tenth a tenth of the images and 30 % of the epochs; small takes minutes, tiny
            seconds.
        printed: Measure at equal epochs too, as the paper did: then the runs go on beyond the equal cost.
        workers: Cells at a time, each with `threads` threads.
        data_dir: Folder of the image sets; without it that which HOMESTRETCH_DATA names, or the hub.
        device: Where to train: cpu, cuda, cuda:1, mps.
        compile: Compile the models.
        micro_batch: Samples in one piece of a full pass; 0 takes as many as the device holds.
        threads: CPU threads of each worker.
        out: Folder of the cells and of the table.
        run: Run what is missing; --no-run prints the table of what is there.
        format: How to print the table; it is written in every form besides.
    """

    sets: tuple[Data, ...] = ("mnist", "cifar-10")
    models: tuple[Model, ...] = VISION_MODELS
    recipes: tuple[Named, ...] = PAPER_RECIPES
    seeds: tuple[int, ...] = ()
    size: SizeName = "tenth"
    printed: bool = False
    workers: int = 1
    data_dir: Path | None = None
    device: str = "cpu"
    compile: bool = False
    micro_batch: int = 512
    threads: int = 1
    out: Path = Path("runs/paper")
    run: bool = True
    format: Literal["table", "markdown", "latex"] = "table"


@dataclass(frozen=True)
class Figures:
    """Draw the paper's figures 1 to 4 from their formulas, and 5 and 6 from the runs of a table, with their data beside them.

    Attributes:
        set: The data of figures 5 and 6.
        model: Their model.
        seed: Their seed.
        results: Folder of a table's cells, or a file of traces (NAME-epochs.parquet); without it figures 1 to 4 are drawn.
        out: Folder for the figures.
    """

    set: Data = "cifar-10"
    model: Model = "vit-mlp"
    seed: int = 0
    results: Path | None = None
    out: Path = Path("runs/paper/figures")


@dataclass(frozen=True)
class Report:
    """Write the page "What we found" from result files: where the printed claims hold at equal cost and where not.

    Attributes:
        results: The table's Parquet file; its traces are NAME-epochs.parquet beside it.
        out: Folder for the page and its figures.
        note: A paragraph on how the runs were made, for the page; without it that in NAME.note.md beside the results, if
            there is such a file.
    """

    results: Path = Path("benchmarks/results/paper.parquet")
    out: Path = Path("docs/paper")
    note: str | None = None
