"""The problems on which the machinery is timed: three sizes, and two kinds of network where that matters.

Their data are drawn at random: what an evaluation takes does not depend on what the numbers are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.sciml.poisson_2d import Poisson2D
from homestretch import LeastSquares, Objective
from homestretch.paper.models import build_model

Function = Objective | LeastSquares
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A function to minimise.

    Attributes:
        name: The name in the tables.
        samples: Samples or residual points.
        build: ``build(seed, samples)`` to a fresh model and its function.
        target: Largest share of an evaluation's time that an iteration may add, as a fraction.
        iterations: Iterations that are timed.
        dense: Whether methods with a dense matrix are timed too.
    """

    name: str
    samples: int
    build: Callable[[int, int], tuple[nn.Module, Function]]
    target: float
    iterations: int
    dense: bool = False


def multilayer(*widths: int) -> nn.Sequential:
    """A ReLU network of the given widths."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ReLU(), nn.Linear(before, after)] if layers else [nn.Linear(before, after)]
    return nn.Sequential(*layers)


def targets(count: int, generator: torch.Generator) -> Tensor:
    """One-hot targets."""
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return torch.nn.functional.one_hot(labels, CLASSES).float()


def _poisson(seed: int, samples: int) -> tuple[nn.Module, Function]:
    problem = Poisson2D(seed)
    return problem.module, LeastSquares(problem.residuals, list(problem.module.parameters()), reduction="sum")


def _dense(*hidden: int) -> Callable[[int, int], tuple[nn.Module, Function]]:
    def build(seed: int, samples: int) -> tuple[nn.Module, Function]:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = multilayer(784, *hidden, CLASSES)
        inputs = torch.rand(samples, 784, generator=generator)
        return model, Objective(model, mse_loss, (inputs, targets(samples, generator)))

    return build


def _vit(seed: int, samples: int) -> tuple[nn.Module, Function]:
    generator = torch.Generator().manual_seed(seed)
    model = build_model("vit-nomlp", (1, 32, 32), CLASSES, seed=seed)
    inputs = torch.rand(samples, 1, 32, 32, generator=generator)
    return model, Objective(model, mse_loss, (inputs, targets(samples, generator)))


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("poisson-2d", 1020, _poisson, target=0.30, iterations=200, dense=True),
        Case("mnist/vit-nomlp", 5000, _vit, target=0.03, iterations=4),
        Case("dense-5e4", 5000, _dense(62, 62), target=0.03, iterations=20),
        Case("dense-1e6", 5000, _dense(832, 416), target=0.01, iterations=4),
    )
}
"""By name. The dense networks are the hardest of their size: no weight serves twice in a sample, so no network has fewer
operations a parameter."""
