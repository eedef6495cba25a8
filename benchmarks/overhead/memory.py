"""What conjugate gradients keep beside the parameters, and what a pass over the data takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.overhead.cases import CASES, Function, multilayer
from benchmarks.overhead.live_memory import LiveMemory
from homestretch import ConjugateGradient, Objective

_SAMPLES = 256
_WIDTHS = (64, 96, 96, 10)


class Watched:
    """A function that notes, before each evaluation, what beside parameters and gradients is alive.

    Args:
        function: The function, on data that were there before `memory` began.
        memory: Where the bytes are counted.
        parameters: The parameters, likewise from before.

    Attributes:
        most: The most bytes there were.
    """

    def __init__(self, function: Function, memory: LiveMemory, parameters: Sequence[Tensor]) -> None:
        self._function = function
        self._memory = memory
        self._parameters = parameters
        self.meter = function.meter
        self.version = function.version
        self.most = 0

    def kept(self) -> int:
        """Bytes alive, less those of the gradients."""
        return self._memory.now - sum(p.grad.nbytes for p in self._parameters if p.grad is not None)

    def __call__(self) -> Tensor:
        self.most = max(self.most, self.kept())
        return self._function()

    def loss(self) -> float:
        self.most = max(self.most, self.kept())
        return self._function.loss()


def vectors_kept(preconditioned: bool, iterations: int = 20) -> dict[str, float]:
    """Memory of conjugate gradients beside parameters, gradient and Adam's own state, in vectors of the parameters' size.

    Returns:
        `value`, what is kept between two iterations; `most`, the most there is while a search evaluates the function.
    """
    torch.manual_seed(0)
    model = multilayer(*_WIDTHS)
    parameters = list(model.parameters())
    objective = Objective(
        model, nn.functional.mse_loss, (torch.randn(_SAMPLES, _WIDTHS[0]), torch.randn(_SAMPLES, _WIDTHS[-1]))
    )
    adam = torch.optim.Adam(parameters)
    objective()
    adam.step()
    objective.zero_grad()
    one = sum(p.nbytes for p in parameters)
    with LiveMemory() as memory:
        optimizer = ConjugateGradient(parameters)
        if preconditioned:
            optimizer.adopt(adam)
        watched = Watched(objective, memory, parameters)
        optimizer.minimize(watched, iterations)
        between = watched.kept()
    return {"value": between / one, "most": watched.most / one}


def pass_memory(samples: int) -> dict[str, float]:
    """Peak bytes of a pass with gradients over `samples` samples in micro-batches of the default size."""
    model, objective = CASES["dense-5e4"].build(0, samples)
    objective()  # makes the gradients
    for p in model.parameters():
        p.grad = None
    with LiveMemory() as memory:
        objective()
    return {"value": float(memory.peak)}
