r"""Preconditioners: symmetric positive definite approximations :math:`M` of the Hessian that are cheap to invert.

A preconditioned method replaces the gradient :math:`g` by :math:`M^{-1} g`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch import moments, vectors
from homestretch.vectors import Vector


class Preconditioner(Protocol):
    """An approximation of the inverse Hessian that directions may start from."""

    @property
    def inverse_diagonal(self) -> Vector | None:
        """The diagonal of :math:`M^{-1}`, one tensor a parameter; ``None`` for the identity."""
        ...


class Identity:
    """No preconditioning: :math:`M = I`."""

    inverse_diagonal: Vector | None = None


class Inverse:
    r"""A fixed diagonal, given by the entries of :math:`M^{-1}`.

    Args:
        inverse_diagonal: One tensor a parameter.
    """

    def __init__(self, inverse_diagonal: Vector) -> None:
        self.inverse_diagonal: Vector | None = inverse_diagonal


class Diagonal:
    r"""A fixed diagonal :math:`M`.

    Args:
        diagonal: Positive entries of :math:`M`, one tensor a parameter.

    Raises:
        ValueError: If an entry is not positive and finite.
    """

    def __init__(self, diagonal: Sequence[Tensor]) -> None:
        inverse = [1.0 / d for d in diagonal]
        if not all(bool(torch.isfinite(d).all()) and bool((d > 0).all()) for d in (*diagonal, *inverse)):
            raise ValueError("diagonal must hold positive finite numbers whose inverses are finite: add a small number to it")
        self.inverse_diagonal: Vector | None = inverse


def checked(preconditioner: Preconditioner | None) -> Preconditioner:
    """The preconditioner, the identity for ``None``.

    Raises:
        TypeError: If it is something else.
    """
    if preconditioner is None:
        return Identity()
    if isinstance(preconditioner, type) or not hasattr(preconditioner, "inverse_diagonal"):
        raise TypeError(f"preconditioner must be one such as Diagonal([...]) or Identity(), got {preconditioner!r}")
    return preconditioner


def inverse_for(preconditioner: Preconditioner, parameters: Sequence[Tensor]) -> Vector | None:
    """The diagonal of the inverse in the dtypes of ``parameters``; ``None`` for the identity.

    Raises:
        ValueError: If it does not fit them, or an entry is not positive and finite in their dtypes.
    """
    inverse = preconditioner.inverse_diagonal
    if inverse is None:
        return None
    shapes, asked = [tuple(d.shape) for d in inverse], [tuple(p.shape) for p in parameters]
    if shapes != asked:
        raise ValueError(
            f"preconditioner must have one tensor for each trainable parameter, of its shape: got shapes {shapes} for "
            f"parameters of shapes {asked}"
        )
    cast = [d.to(p.dtype) for d, p in zip(inverse, parameters, strict=True)]
    if not all(bool(((d > 0.0) & d.isfinite()).all()) for d in cast):
        raise ValueError(
            "preconditioner must have positive finite entries in the parameters' dtype, or its directions do not go downhill: "
            "keep them from zero and infinity"
        )
    return cast


def apply(preconditioner_diagonal: Vector | None, vector: Vector) -> Vector:
    """:math:`M^{-1} v`; ``v`` itself (not a copy) for the identity."""
    return vector if preconditioner_diagonal is None else vectors.multiply(preconditioner_diagonal, vector)


def adam_moments(optimizer: Optimizer, parameters: Sequence[Tensor]) -> Diagonal | None:
    r""":math:`M = \mathrm{diag}(\sqrt{\hat v} + \epsilon)` from the second moments of an optimizer that keeps some.

    With :math:`\hat v`, the running mean of squared gradients corrected for its start (Kingma and Ba, 2015), a step of 1
    along :math:`M^{-1} g` is Adam's own at learning rate 1, without momentum.

    Args:
        optimizer: Any optimizer that keeps second moments in one of the forms that :mod:`homestretch.moments` reads: Adam,
            AdamW, NAdam, RAdam, AMSGrad, Adamax, RMSprop, Adadelta, Adagrad, Adafactor, schedule-free AdamW, SOAP, ...
        parameters: The parameters, in the order of the vectors to precondition.

    Returns:
        The preconditioner, or ``None`` where some parameter has no second moment. One that the optimizer has never stepped,
        as the loss did not use it, counts as having moment zero if others have some.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    diagonal = []
    for p in parameters:
        if id(p) in groups and optimizer.state and not optimizer.state.get(p):
            diagonal.append(torch.zeros_like(vectors.local(p)))
            continue
        root = moments.root_mean_square(optimizer, p, groups[id(p)]) if id(p) in groups else None
        if root is None:
            return None
        diagonal.append(root)
    # A parameter that never had a gradient has moment zero: without a floor its step would be 1/eps long.
    floor = 1e-4 * _mean(diagonal)
    return Diagonal([d.clamp_min(floor) if floor > 0 else torch.ones_like(d) for d in diagonal])


def _mean(diagonal: Sequence[Tensor]) -> float:
    total = sum(float(d.sum(dtype=torch.float64 if d.device.type != "mps" else None)) for d in diagonal)
    return total / max(vectors.size(diagonal), 1)
