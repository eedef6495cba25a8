r"""Coupled weight decay as part of the function that is minimised.

An optimizer with coupled decay :math:`\lambda` adds :math:`\lambda \theta` to each gradient, so what it minimises is

.. math:: f(\theta) + \tfrac{1}{2} \sum_i \lambda_i \lVert \theta_i \rVert^2 .

The convex phase must minimise the same function, or it would undo the decay's work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch import vectors
from homestretch.objective.base import Function

# torch's optimizers whose weight decay is decoupled from the gradient (Loshchilov and Hutter, 2019)
_DECOUPLED = ("AdamW", "Adafactor", "Muon", "AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree")


class Penalized:
    """A function plus the squares of its parameters, each weighted by half its decay.

    Args:
        function: The function without the penalty.
        parameters: Parameters with a decay.
        decays: Their decays, one a parameter.
    """

    def __init__(self, function: Function, parameters: Sequence[Tensor], decays: Sequence[float]) -> None:
        self.function = function
        self.meter = function.meter
        self._parameters = list(parameters)
        self._decays = list(decays)

    @property
    def version(self) -> int:
        """The version of the function inside."""
        return self.function.version

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters of the function inside, in its order, where it has products."""
        return self.function.parameters  # type: ignore[attr-defined]

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Loss with the penalty; fills ``.grad``."""
        loss = self.function()
        for p, decay in zip(self._parameters, self._decays, strict=True):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            p.grad.add_(p, alpha=decay)
        return loss.to("cpu", torch.float64) + self._penalty()

    def loss(self) -> float:
        """Loss with the penalty, by forward passes only."""
        return self.function.loss() + self._penalty()

    def hessian_product(self, vector: list[Tensor]) -> list[Tensor]:
        """The function's Hessian product plus the decay times the vector."""
        product = self.function.hessian_product(vector)  # type: ignore[attr-defined]
        return self._with_decay(product, vector)

    def gauss_newton_product(self, vector: list[Tensor]) -> list[Tensor]:
        """The function's Gauss-Newton product plus the decay times the vector: the penalty is convex."""
        product = self.function.gauss_newton_product(vector)  # type: ignore[attr-defined]
        return self._with_decay(product, vector)

    def _with_decay(self, product: list[Tensor], vector: list[Tensor]) -> list[Tensor]:
        decay = {id(p): d for p, d in zip(self._parameters, self._decays, strict=True)}
        owners = [p for p in getattr(self.function, "parameters", self._parameters) if p.requires_grad]
        return [h.add(v, alpha=decay.get(id(p), 0.0)) for p, h, v in zip(owners, product, vector, strict=True)]

    def _penalty(self) -> float:
        total = 0.0
        for p, decay in zip(vectors.locals_of(self._parameters), self._decays, strict=True):
            total += 0.5 * decay * vectors.dot([p], [p])
        return total


def coupled_decays(optimizer: Optimizer) -> tuple[list[Tensor], list[float]]:
    """Parameters with a coupled weight decay in ``optimizer``, and their decays."""
    parameters, decays = [], []
    for group in optimizer.param_groups:
        decay = float(group.get("weight_decay", 0.0) or 0.0)
        if decay > 0.0 and not is_decoupled(optimizer, group):
            parameters += group["params"]
            decays += [decay] * len(group["params"])
    return parameters, decays


def is_decoupled(optimizer: Optimizer, group: dict[str, object]) -> bool:
    """Whether a group's weight decay is applied to the parameters directly rather than through the gradient."""
    return bool(group.get("decoupled_weight_decay", False)) or type(optimizer).__name__ in _DECOUPLED
