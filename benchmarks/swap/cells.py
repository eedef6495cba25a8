"""The problems: cells of the paper, curve fitting and physics-informed networks, in four sizes.

`full` is what the published comparisons are about and a machine's work of days; `tenth` takes the first 6,000 or 5,000
images; `small`, digits and 1,000 images of MNIST and CIFAR-10 among it, is what one core does in some hours; `quick` takes a
minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import nn
from torch.nn.functional import mse_loss

from benchmarks.sciml import make_problem
from homestretch import LeastSquares, Objective
from homestretch.paper import ImageData, build_model, load_data, one_hot

RAMP = 100  # full-batch steps of linear warm-up, as published
Total = Objective | LeastSquares


@dataclass
class Setting:
    """A cell at its start.

    Attributes:
        model: the network, freshly drawn.
        objective: the loss over all the data.
        error: the published error, where the problem has one beside its loss.
    """

    model: nn.Module
    objective: Total
    error: Callable[[], float] | None = None


@dataclass(frozen=True)
class Cell:
    """A problem with its budget and its first phase.

    Attributes:
        name: the name in the tables.
        budget: gradient-equivalents.
        learning_rate: Adam's.
        ramp: epochs of linear warm-up.
        seeds: how many.
        make: draws the network from a seed.
        mini_batches: whether an epoch has several, so that the gradient has noise.
        needs: image set that must be found, if any.
    """

    name: str
    budget: float
    learning_rate: float
    ramp: int
    seeds: int
    make: Callable[[int], Setting]
    mini_batches: bool = True
    needs: str | None = None

    @property
    def epochs(self) -> int:
        """Epochs of the first phase that the budget pays: one for a gradient-equivalent."""
        return int(self.budget + 1e-9)

    def factor(self, epoch: int, *, cosine: bool) -> float:
        """Share of the learning rate in an epoch, counted from 0: the ramp, then constant or a cosine to zero."""
        if epoch < self.ramp:
            return (epoch + 1) / self.ramp
        return 0.5 * (1.0 + math.cos(math.pi * (epoch - self.ramp) / max(self.epochs - self.ramp, 1))) if cosine else 1.0


def science(name: str, budget: float, seeds: int) -> Cell:
    """A problem of `benchmarks.sciml`: an epoch is one full-batch step; its points stay, as both phases need one function."""

    def make(seed: int) -> Setting:
        problem = make_problem(name, seed)
        # Its residuals come scaled, so that their plain sum of squares is the loss.
        return Setting(problem.module, LeastSquares(problem.residuals, problem.module, reduction="sum"), problem.error)

    return Cell(name, budget, 3e-3, RAMP, seeds, make, mini_batches=False)


def images(
    data: str, model: str, epochs: int, seeds: int, folder: Path | None, *, rows: int | None = None, batch: int = 512
) -> Cell:
    """A cell of the paper: softmax outputs, squared error on one-hot targets, Adam at 1e-3."""

    def make(seed: int) -> Setting:
        found = _load(data, folder, rows)
        network = build_model(model, found.image_shape, found.classes, seed=seed)
        train = (found.train_inputs, one_hot(found.train_targets, found.classes))
        return Setting(network, Objective(network, mse_loss, train, batch_size=batch, seed=seed))

    return Cell(f"{data}/{model}", float(epochs), 1e-3, 0, seeds, make, needs=None if data == "digits" else data)


@cache
def _load(data: str, folder: Path | None, rows: int | None) -> ImageData:
    return load_data(data, folder, rows, 1)


def _full(folder: Path | None) -> list[Cell]:
    fits = [science(f"zoo-{target}-{width}", 3000.0, 5) for target in ("sin", "runge") for width in (64, 128, 256)]
    pinns = [science(name, 10_000.0, 5) for name in ("poisson-2d", "convection", "burgers")]
    return fits + pinns + _paper(folder, 1000, 700, None)


def _tenth(folder: Path | None) -> list[Cell]:
    fits = [science(f"zoo-{target}-{width}", 3000.0, 3) for target in ("sin", "runge") for width in (64, 128)]
    pinns = [science("poisson-2d", 5000.0, 3), science("convection", 5000.0, 3)]
    return fits + pinns + _paper(folder, 300, 210, {"mnist": 6000, "cifar-10": 5000})


def _paper(folder: Path | None, epochs: int, fewer: int, rows: dict[str, int] | None, *, batch: int = 512) -> list[Cell]:
    names = [("mnist", "vit-nomlp"), ("mnist", "vgg5-max-relu"), ("cifar-10", "vit-mlp"), ("cifar-10", "vit-nomlp-wkewq-wvwo")]
    cells = []
    for data, model in names:
        count, made = (fewer if model == "vit-mlp" else epochs), (rows[data] if rows else None)
        cells.append(images(data, model, count, 3, folder, rows=made, batch=batch))
    return cells


def _small(folder: Path | None) -> list[Cell]:
    # Sixteen mini-batches an epoch, where the tenth size has ten to twelve.
    paper = _paper(folder, 80, 80, {"mnist": 1000, "cifar-10": 1000}, batch=64)
    return [
        science("zoo-sin-64", 600.0, 3),
        science("zoo-runge-64", 600.0, 3),
        science("poisson-2d", 1000.0, 3),
        science("convection", 600.0, 3),
        science("burgers", 600.0, 3),
        images("digits", "vit-nomlp-wkewq-wvwo", 80, 3, folder, batch=128),
        images("mnist", "vit-nomlp-wkewq-wvwo", 60, 3, folder, rows=1000, batch=128),
        *paper,
    ]


def _quick(folder: Path | None) -> list[Cell]:
    return [
        science("zoo-sin-64", 300.0, 1),
        images("digits", "vit-nomlp-wkewq-wvwo", 20, 1, folder, rows=256, batch=64),
    ]


SCALES: dict[str, Callable[[Path | None], list[Cell]]] = {"full": _full, "tenth": _tenth, "small": _small, "quick": _quick}


def cells_of(scale: str, folder: Path | None = None) -> list[Cell]:
    """The cells of a size; `folder` holds the image sets other than the digits."""
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    return SCALES[scale](folder)
