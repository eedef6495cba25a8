"""The cells of the table: set, model, recipe, seed and size, and the order in which they are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from homestretch.paper.methods import runs_alone
from homestretch.paper.settings import LARGEST_SEED, RECIPES, Data, Model, Named, Problem, Recipe

__all__ = [
    "ADAM",
    "BATCH",
    "PAPER_RECIPES",
    "SIZES",
    "VISION_MODELS",
    "Cell",
    "Machine",
    "Size",
    "SizeName",
    "cells",
    "default_seeds",
    "shares_adam",
]

SizeName = Literal["full", "tenth", "small", "tiny"]
ADAM: Named = "adam"
BATCH = 512  # the source's mini-batch
PAPER_RECIPES: tuple[Named, ...] = (
    "adam",
    "adam-cosine",
    "adamw-cosine",
    "lbfgs",
    "golden-30",
    "golden-rule",
    "cg-alone-fr",
    "cg-alone-pr",
    "auto",
)
"""The recipes of the table by default: the baselines, the paper's own, and what the library does by itself."""
VISION_MODELS: tuple[Model, ...] = tuple(model for model in get_args(Model) if model != "gpt-char")
_MLP_SHARE = 0.7  # of the epochs: the source gave vit-mlp 700 where the others got 1000
_TEXT: tuple[Data, Model] = ("python-docs", "gpt-char")


@dataclass(frozen=True)
class Size:
    """How much of the sets is used, and for how long.

    Attributes:
        epochs: Adam's epochs; the budget of every recipe in gradient-equivalents.
        rows: Training samples by set; a set that is missing is taken whole.
        validation: Validation samples, ``None`` for all.
        batch: Images in a mini-batch.
        text_batch: Samples of text in a mini-batch, each of many characters.
    """

    epochs: int
    rows: dict[str, int]
    validation: int | None = None
    batch: int = BATCH
    text_batch: int = BATCH


SIZES: dict[SizeName, Size] = {
    "full": Size(1000, {}),
    "tenth": Size(300, {"mnist": 6000, "cifar-10": 5000, "cifar-100": 5000, "python-docs": 640}, text_batch=64),
    "small": Size(100, {**dict.fromkeys(get_args(Data), 1000), "python-docs": 256}, validation=1000, batch=64, text_batch=32),
    "tiny": Size(10, dict.fromkeys(get_args(Data), 96), validation=64, batch=32, text_batch=32),
}
"""full is the paper's; tenth is a tenth of the images and 30 % of the epochs; small takes minutes, with the steps an epoch of
a tenth made by smaller mini-batches; tiny shows that everything works."""


@dataclass(frozen=True)
class Machine:
    """Where the cells are run; none of it changes what they are.

    Attributes:
        data_dir: Folder of the image sets; see :func:`~homestretch.paper.load_data`.
        device: Where to train.
        compile: Whether models are compiled.
        micro_batch: Samples in one piece of a full pass, 0 for as many as the device holds.
        threads: CPU threads of each worker.
    """

    data_dir: Path | None = None
    device: str = "cpu"
    compile: bool = False
    micro_batch: int = BATCH
    threads: int = 1


@dataclass(frozen=True)
class Cell:
    """One run of the table.

    Attributes:
        set: The data.
        model: The model.
        recipe: Name of the recipe.
        seed: Seed of the start and of the order of the mini-batches.
        size: Name of the size.
    """

    set: Data
    model: Model
    recipe: Named
    seed: int
    size: SizeName

    @property
    def path(self) -> PurePosixPath:
        """Its folder below that of the table."""
        return PurePosixPath(self.set, self.model, f"seed-{self.seed}", self.recipe)

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return f"{self.set}/{self.model} seed {self.seed} {self.recipe}"

    @property
    def plan(self) -> Recipe:
        """The recipe."""
        return RECIPES[self.recipe]

    @property
    def epochs(self) -> int:
        """Adam's epochs, the budget in gradient-equivalents."""
        whole = SIZES[self.size].epochs
        return round(_MLP_SHARE * whole) if self.model == "vit-mlp" and self.size in ("full", "tenth") else whole

    @property
    def adam(self) -> Cell:
        """The cell of Adam alone from the same start."""
        return Cell(self.set, self.model, ADAM, self.seed, self.size)

    def problem(self, machine: Machine) -> Problem:
        """The problem, on a machine."""
        size = SIZES[self.size]
        return Problem(
            model=self.model,
            data=self.set,
            data_dir=machine.data_dir,
            train_limit=size.rows.get(self.set),
            validation_limit=size.validation,
            batch=size.text_batch if self.set == _TEXT[0] else size.batch,
            micro_batch=machine.micro_batch,
            seed=self.seed,
            device=machine.device,
            threads=machine.threads,
            compile=machine.compile,
        )


def cells(
    sets: Sequence[Data], models: Sequence[Model], recipes: Sequence[Named], seeds: Sequence[int], size: SizeName
) -> list[Cell]:
    """The cells in the order in which they are run: seed by seed, so that an unfinished table is whole at fewer seeds.

    Adam alone comes first for every set, model and seed, whether or not it is among the recipes: the others are compared
    with it, and start from its first epochs.

    Args:
        sets: The sets.
        models: The models. The text goes with its own model only, which is added to the set.
        recipes: Names of recipes.
        seeds: Seeds; empty for those of :func:`default_seeds`.
        size: Name of the size.

    Raises:
        ValueError: If something is missing or given twice, or a set or the text's model is left without a cell.
    """
    _check_choice(sets, models, recipes, seeds)
    ordered: list[Named] = [ADAM, *(recipe for recipe in recipes if recipe != ADAM)]
    found: dict[Cell, None] = {}
    for seed in sorted({*seeds, *(s for m in models for r in ordered for s in default_seeds(m, r) if not seeds)}):
        for data in sets:
            for model in [_TEXT[1]] if data == _TEXT[0] else [m for m in models if m != _TEXT[1]]:
                for recipe in ordered:
                    if seeds or seed in default_seeds(model, recipe):
                        found[Cell(data, model, recipe, seed, size)] = None
    return list(found)


def default_seeds(model: Model, recipe: Named) -> tuple[int, ...]:
    """Three seeds for the transformers, one for the convolutional network, the text, and conjugate gradients alone."""
    single = model in ("vgg5-max-relu", _TEXT[1]) or RECIPES[recipe].rule == "start"
    return (0,) if single else (0, 1, 2)


def _check_choice(sets: Sequence[Data], models: Sequence[Model], recipes: Sequence[Named], seeds: Sequence[int]) -> None:
    """Refuse a choice of cells that makes no sense."""
    for name, given in (("sets", sets), ("models", models), ("recipes", recipes)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"--{name} must be one or more different names, got {', '.join(given) or 'none'}")
    if len(set(seeds)) < len(seeds) or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise ValueError(f"--seeds must be different numbers from 0 to 2**63 - 1, got {', '.join(map(str, seeds))}")
    text, model = _TEXT
    if model in models and text not in sets:
        raise ValueError(f"no cell: {model} goes with --sets {text}, got --sets {' '.join(sets)}: add it, or leave {model} out")
    images = [data for data in sets if data != text]
    if images and set(models) == {model}:
        raise ValueError(f"no cell of {', '.join(images)}, got --models {model} alone: add one for images, or leave them out")


def shares_adam(recipe: Recipe) -> bool:
    """Whether a recipe's first phase is that of Adam alone, so that it can start from there."""
    adam = RECIPES[ADAM]
    same = all(getattr(recipe, part) == getattr(adam, part) for part in ("first", "learning_rate", "schedule", "gradient_norm"))
    return same and recipe.rule != "start" and not (runs_alone(recipe) and recipe.rule != "share")
