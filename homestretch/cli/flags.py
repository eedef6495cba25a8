"""The commands of the command line, as dataclasses: each field is a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from homestretch.cli.settings import RECIPES, Problem, Recipe


@dataclass(frozen=True)
class Run:
    """Train one model by one recipe; writes the record, checkpoints and figures into a folder.

    Attributes:
        budget: Cost to spend, in gradient-equivalents (an epoch of mini-batches is 1).
        out: Folder for everything the run writes.
        overwrite: Replace the run that the folder holds.
        problem: What is trained, on what.
        recipe: How it is trained.
    """

    budget: float = 100.0
    out: Path = Path("runs/run")
    overwrite: bool = False
    problem: Problem = field(default_factory=Problem)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Compare:
    """Train from the same start by several recipes at equal counted cost, and put them side by side.

    What is in the folder already from the same settings is not trained again.

    Attributes:
        recipes: Names: adam, adam-cosine, adamw-cosine, golden-30 and golden-rule (the paper's), cg, lbfgs, auto.
        budget: Cost that each may spend, in gradient-equivalents.
        out: Folder with one folder a recipe.
        overwrite: Train again, whatever the folder holds.
        problem: What is trained, on what.
    """

    recipes: tuple[str, ...] = ("adam", "adam-cosine", "golden-30", "auto")
    budget: float = 100.0
    out: Path = Path("runs/compare")
    overwrite: bool = False
    problem: Problem = field(default_factory=Problem)


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted.

    Attributes:
        folder: The folder that `run` was writing.
    """

    folder: Path


@dataclass(frozen=True)
class Plot:
    """Draw the figures of a run, or of all runs below a folder, once more from their records.

    Attributes:
        folder: A run's folder, or one that holds several.
    """

    folder: Path


@dataclass(frozen=True)
class Demo:
    """Train the paper's vit-nomlp on real handwritten digits: Adam alone beside Adam then CG and Adam then L-BFGS.

    Attributes:
        budget: Cost that each recipe may spend, in gradient-equivalents.
        seed: Seed of the start.
        out: Folder for the records, figures and their data.
        overwrite: Train again, whatever the folder holds.
    """

    budget: float = 120.0
    seed: int = 0
    out: Path = Path("runs/demo")
    overwrite: bool = False


@dataclass(frozen=True)
class Paper:
    """Print what the paper's experiments are made of.

    Attributes:
        what: models: set, model, parameters P and overdetermination ratio Q of every cell of the paper's table 1.
        format: How to print.
    """

    what: Literal["models"]
    format: Literal["table", "tsv", "markdown"] = "table"


Command = Run | Compare | Resume | Plot | Demo | Paper


def recipes_of(names: Sequence[str]) -> list[tuple[str, Recipe]]:
    """The recipes by name.

    Raises:
        ValueError: If a name is unknown or given twice, or there is none.
    """
    unknown = [name for name in names if name not in RECIPES]
    if unknown or not names:
        raise ValueError(f"recipes must be among {', '.join(RECIPES)}, got {', '.join(unknown) or 'none'}")
    if len(set(names)) < len(names):
        raise ValueError(f"recipes must differ, got {', '.join(names)}")
    return [(name, RECIPES[name]) for name in names]
