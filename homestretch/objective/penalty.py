r"""Coupled weight decay as part of the function that is minimised.

An optimizer with coupled decay :math:`\lambda` adds :math:`\lambda \theta` to each gradient, so what it minimises is

.. math:: f(\theta) + \tfrac{1}{2} \sum_i \lambda_i \lVert \theta_i \rVert^2 .

The convex phase must minimise the same function, or it would undo the decay's work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import ASGD, Optimizer

from homestretch import vectors
from homestretch.objective.base import Function, GaussNewtonProducts, HessianProducts
from homestretch.objective.living import Recent, Wrapped

Group = dict[str, Any]
Product = Callable[[list[Tensor]], list[Tensor]]

# Optimizers whose weight decay is decoupled from the gradient (Loshchilov and Hutter, 2019) and whose groups do not say so
_DECOUPLED = ("AdamW", "Adafactor", "Muon", "SOAP", "AdamWScheduleFree", "RAdamScheduleFree")
# What libraries call the flag in their groups
_FLAGS = ("decoupled_weight_decay", "weight_decouple")


class Penalized(Wrapped):
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
        self._seen = Recent()
        # Products only where the function inside has them: whoever minimises asks for their presence.
        if isinstance(function, HessianProducts):
            self.hessian_product = partial(self._decayed, function.hessian_product)
        if isinstance(function, GaussNewtonProducts):
            self.gauss_newton_product = partial(self._decayed, function.gauss_newton_product)

    @property
    def cheap_loss(self) -> bool:
        """Whether the function inside has a forward pass of its own, which leaves ``.grad`` alone."""
        return bool(getattr(self.function, "cheap_loss", True))

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
        return torch.tensor(self._total(float(loss)), dtype=torch.float64)

    def loss(self) -> float:
        """Loss with the penalty, by forward passes only."""
        return self._total(self.function.loss())

    def inner_loss(self, loss: float) -> float:
        """The loss without the penalty where that with it is ``loss``, NaN if no recent evaluation gave it."""
        found = self._seen.at(loss)
        return math.nan if found is None else found

    def _decayed(self, product: Product, vector: list[Tensor]) -> list[Tensor]:
        """A product with the matrix of the function inside, plus the decay times the vector: the penalty is quadratic."""
        decay = {id(p): d for p, d in zip(self._parameters, self._decays, strict=True)}
        owners = [p for p in getattr(self.function, "parameters", self._parameters) if p.requires_grad]
        return [h.add(v, alpha=decay.get(id(p), 0.0)) for p, h, v in zip(owners, product(vector), vector, strict=True)]

    def _total(self, loss: float) -> float:
        total = loss + self._penalty()
        self._seen.note(total, loss)
        return total

    def _penalty(self) -> float:
        return penalty(self._parameters, self._decays)


def penalty(parameters: Sequence[Tensor], decays: Sequence[float]) -> float:
    """Half the sum of the parameters' squared norms, each times its decay."""
    by_decay: dict[float, list[Tensor]] = {}
    for p, decay in zip(vectors.locals_of(parameters), decays, strict=True):
        by_decay.setdefault(decay, []).append(p)
    if not by_decay:
        return 0.0
    squares = vectors.dots([(group, group) for group in by_decay.values()], vectors.shard_groups(list(parameters)))
    return sum(0.5 * decay * square for decay, square in zip(by_decay, squares, strict=True))


def add_gradient_(
    gradient: Sequence[Tensor], owners: Sequence[Tensor], parameters: Sequence[Tensor], decays: Sequence[float]
) -> None:
    """Add the gradient of the penalty on ``parameters`` to a gradient of ``owners``, local parts in place."""
    decay = {id(p): d for p, d in zip(parameters, decays, strict=True)}
    for g, p in zip(gradient, owners, strict=True):
        g.add_(vectors.local(p).detach(), alpha=decay.get(id(p), 0.0))


def coupled_decays(optimizer: Optimizer) -> tuple[list[Tensor], list[float]]:
    """Trainable parameters with a coupled weight decay in ``optimizer``, and their decays."""
    return _decays(optimizer, _coupled)


def decoupled_decays(optimizer: Optimizer) -> tuple[list[Tensor], list[float]]:
    """Trainable parameters with a decoupled weight decay in ``optimizer``, and their decays."""
    return _decays(optimizer, lambda o, group: _weight_decay(group) if is_decoupled(o, group) else 0.0)


def _decays(optimizer: Optimizer, decay_of: Callable[[Optimizer, Group], float]) -> tuple[list[Tensor], list[float]]:
    found = [(p, decay_of(optimizer, group)) for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    return [p for p, decay in found if decay > 0.0], [decay for _, decay in found if decay > 0.0]


def _coupled(optimizer: Optimizer, group: Group) -> float:
    decay = 0.0 if is_decoupled(optimizer, group) else _weight_decay(group)
    # Averaged gradient descent shrinks the parameters by lr * lambd beside the gradient's step, which is the same thing.
    return decay + (float(group.get("lambd", 0.0)) if isinstance(optimizer, ASGD) else 0.0)


def _weight_decay(group: Group) -> float:
    return float(group.get("weight_decay", 0.0) or 0.0)


def is_decoupled(optimizer: Optimizer, group: Group) -> bool:
    """Whether a group's weight decay is applied to the parameters directly rather than through the gradient.

    What a group says of itself counts; then the name of the class. An unknown optimizer's decay is taken as coupled.
    """
    said = [bool(group[flag]) for flag in _FLAGS if flag in group]
    return said[0] if said else type(optimizer).__name__ in _DECOUPLED
