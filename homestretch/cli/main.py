"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from homestretch.cli.settings import RECIPES, Problem, Recipe, read
from homestretch.errors import HomestretchError

_NEEDED = ("tyro", "rich", "matplotlib", "pyarrow", "PIL", "sklearn")


@dataclass(frozen=True)
class Run:
    """Train one model by one recipe; writes the record, checkpoints and figures into a folder.

    Attributes:
        budget: Cost to spend, in gradient-equivalents (an epoch of mini-batches is 1).
        out: Folder for everything the run writes.
        problem: What is trained, on what.
        recipe: How it is trained.
    """

    budget: float = 100.0
    out: Path = Path("runs/run")
    problem: Problem = field(default_factory=Problem)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Compare:
    """Train from the same start by several recipes at equal counted cost, and put them side by side.

    Attributes:
        recipes: Names: adam, adam-cosine, adamw-cosine, golden-30 and golden-rule (the paper's), cg, lbfgs, auto.
        budget: Cost that each may spend, in gradient-equivalents.
        out: Folder with one folder a recipe.
        problem: What is trained, on what.
    """

    recipes: tuple[str, ...] = ("adam", "adam-cosine", "golden-30", "auto")
    budget: float = 100.0
    out: Path = Path("runs/compare")
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
    """Train the paper's vit-nomlp on real handwritten digits: Adam alone beside Adam then the convex phase.

    Attributes:
        budget: Cost that each recipe may spend, in gradient-equivalents.
        seed: Seed of the start.
        out: Folder for the records, figures and their data.
    """

    budget: float = 120.0
    seed: int = 0
    out: Path = Path("runs/demo")


@dataclass(frozen=True)
class PaperModels:
    """Print set, model, parameters P and overdetermination ratio Q of every cell of the paper's table 1.

    Attributes:
        format: How to print.
    """

    format: Literal["table", "tsv", "markdown"] = "table"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(f"homestretch: the command line needs {', '.join(missing)}: pip install 'homestretch[cli]'", file=sys.stderr)
        return 2
    import tyro

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    sub = tyro.conf.subcommand
    commands = (
        Annotated[Run, sub("run")]
        | Annotated[Compare, sub("compare")]
        | Annotated[Resume, sub("resume")]
        | Annotated[Plot, sub("plot")]
        | Annotated[Demo, sub("demo")]
        | Annotated[PaperModels, sub("paper-models")]
    )
    if arguments[:2] == ["paper", "models"]:
        arguments[:2] = ["paper-models"]
    command = tyro.cli(
        commands,  # type: ignore[arg-type]
        prog="homestretch",
        description="The second half of training: Adam up to the gradient-norm peak, then a convex-phase method.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
    )
    from homestretch.cli import commands as act

    try:
        act.dispatch(command)
    except (HomestretchError, ValueError) as error:
        if debug:
            raise
        print(f"homestretch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        folder = getattr(command, "folder", getattr(command, "out", ""))
        print(f"\nInterrupted. Every finished epoch is kept in {folder}.", file=sys.stderr)
        print(_how_to_go_on(command, folder), file=sys.stderr)
        return 130
    return 0


def _how_to_go_on(command: object, folder: object) -> str:
    if isinstance(command, Run | Resume):
        return f"Go on with: homestretch resume {folder}"
    return "Finished recipes are not trained again: repeat the command to go on."


def check_recipes(names: Sequence[str]) -> list[tuple[str, Recipe]]:
    """The recipes by name.

    Raises:
        ValueError: If a name is unknown or there is none.
    """
    unknown = [name for name in names if name not in RECIPES]
    if unknown or not names:
        raise ValueError(f"recipes must be among {', '.join(RECIPES)}, got {', '.join(unknown) or 'none'}")
    return [(name, RECIPES[name]) for name in names]


def demo_problem(seed: int) -> Problem:
    """The demo's problem: the digits in one core's reach, mini-batches in the paper's proportion to the data."""
    return replace(Problem(), batch=128, micro_batch=512, seed=seed)


__all__ = ["Compare", "Demo", "PaperModels", "Plot", "Resume", "Run", "check_recipes", "demo_problem", "main", "read"]
