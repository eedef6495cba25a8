"""The commands of the command line, as dataclasses: each field is a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from homestretch.cli.paper_flags import Figures, Models, Report, Table, check_data_dir
from homestretch.paper.settings import RECIPES, Named, Phases, Problem, Recipe


@dataclass(frozen=True)
class Method(Phases):
    """How it is trained.

    Attributes:
        swap_at: When the rules epoch (a number of epochs) and share (a share of the budget, 0.3 without it) swap; refused
            where it would have no effect.
    """

    swap_at: float | None = None

    def recipe(self) -> Recipe:
        """The recipe that the flags come to.

        Raises:
            ValueError: If ``swap_at`` or ``resort`` is given and would have no effect, or ``swap_at`` is missing.
        """
        rule, second, given = self.rule, self.second, self.swap_at is not None
        if given and rule not in ("epoch", "share"):
            raise ValueError(
                f"--swap-at goes with --rule epoch or share only, got --rule {rule}: leave it out, or give one of them"
            )
        if second == "none" and (given or rule == "epoch"):
            raise ValueError(
                f"--rule {rule} with --second none has nothing to swap to: leave it and --swap-at out, or give a method"
            )
        if rule == "epoch" and not given:
            raise ValueError("--swap-at must be given with --rule epoch: the number of epochs after which to swap")
        if second == "none" and not self.resort:
            raise ValueError("--no-resort has no effect with --second none, which never swaps: leave it out, or give a method")
        return Recipe(**{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True)
class Run:
    """Train one model by one recipe; writes the record, checkpoints and figures into a folder.

    Attributes:
        budget: Cost to spend, in gradient-equivalents (an epoch of mini-batches is 1).
        out: Folder for everything the run writes.
        overwrite: Replace the run that the folder holds.
        problem: What is trained, on what.
        method: How it is trained.
    """

    budget: float = 100.0
    out: Path = Path("runs/run")
    overwrite: bool = False
    problem: Problem = field(default_factory=Problem)
    method: Method = field(default_factory=Method)


@dataclass(frozen=True)
class Compare:
    """Train from the same start by several recipes at equal counted cost, and put them side by side.

    What is in the folder already from the same settings is not trained again.

    Attributes:
        recipes: Names of recipes. adam, adam-cosine and adamw-cosine have one phase; golden-30 is the paper's printed
            protocol (swap at 30 % of the budget, conjugate gradients with golden sections), golden-rule the same by the
            paper's literal rule; cg-alone-fr and cg-alone-pr are the paper's conjugate gradients from the start; lbfgs is
            torch's own after 30 %; lbfgs-adam-30 and cg-adam-30 are ours, from Adam's moments at 30 %; lbfgs-peak and
            cg-peak swap by the guarded rule; auto is what the library does by itself.
        budget: Cost that each may spend, in gradient-equivalents.
        out: Folder with one folder a recipe.
        overwrite: Train again, whatever the folder holds.
        problem: What is trained, on what.
    """

    recipes: tuple[Named, ...] = ("adam", "adam-cosine", "golden-30", "auto")
    budget: float = 100.0
    out: Path = Path("runs/compare")
    overwrite: bool = False
    problem: Problem = field(default_factory=Problem)


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted, or with a finished one for a larger budget.

    Attributes:
        folder: The folder that `run` was writing.
        budget: A larger budget than the run was planned with, in gradient-equivalents; what it was planned with by default.
    """

    folder: Path
    budget: float | None = None


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
    """The paper's experiments: its models, its table, its figures, and what we found.

    Attributes:
        what: Which.
    """

    what: Models | Table | Figures | Report


Command = Run | Compare | Resume | Plot | Demo | Paper


def check_effects(problem: Problem) -> None:
    """Refuse what was asked for and would have no effect on a problem.

    Raises:
        ValueError: With the flag to leave out.
    """
    check_data_dir(problem.data_dir, [problem.data])
    if problem.model == "gpt-char" and problem.outputs != "softmax":
        raise ValueError(
            f"--outputs {problem.outputs} has no effect on --model gpt-char, which has the cross-entropy: leave it out, "
            "or give an image model"
        )


def recipes_of(names: Sequence[Named]) -> dict[str, Recipe]:
    """The recipes by name.

    Raises:
        ValueError: If there is none or a name is given twice.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"recipes must be one or more different names, got {', '.join(names) or 'none'}")
    return {name: RECIPES[name] for name in names}
