"""Activation functions with their first three derivatives, for Taylor propagation.

An activation is known here by two functions: its value `s(z)`, and its derivatives, written in terms of the
pre-activation `z` and of the value, whichever is cheaper: with `t = tanh(z)`, `t' = 1 - t^2` costs no
second transcendental. Each formula is elementary calculus; the tests compare all of them with automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from homestretch.objective.fast_tanh import Tanh, tanh

Derivatives = tuple[Tensor, ...]


class Activation(NamedTuple):
    """An elementwise function that Taylor propagation can pass through.

    Attributes:
        value: maps the pre-activation `z` to `s(z)`.
        derivatives: maps `(z, s(z), order)` to `(s', ..., s^(order))` at `z`, with `order` 1, 2 or 3.
    """

    value: Callable[[Tensor], Tensor]
    derivatives: Callable[[Tensor, Tensor, int], Derivatives]


class Sin(nn.Module):
    """`sin` as a module, elementwise: the activation of sinusoidal networks, known to `taylor`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `sin(inputs)`."""
        return torch.sin(inputs)


def _tanh(z: Tensor, value: Tensor, order: int) -> Derivatives:
    # In place where the old content is of no further use: these passes over memory are what the propagation costs.
    first = (value * value).neg_().add_(1.0)
    if order == 1:
        return (first,)
    second = (value * first).mul_(-2.0)
    if order == 2:
        return first, second
    return first, second, torch.rsub(first, 4.0, alpha=6.0).mul_(first)


def _sin(z: Tensor, value: Tensor, order: int) -> Derivatives:
    cosine = torch.cos(z)
    return (cosine, -value, -cosine)[:order]


def _logistic(value: Tensor, order: int) -> Derivatives:
    """Derivatives of the logistic function `p = 1 / (1 + exp(-z))`, given `p`."""
    first = value * (1.0 - value)
    if order == 1:
        return (first,)
    second = first * (1.0 - 2.0 * value)
    if order == 2:
        return first, second
    return first, second, first * (1.0 - 6.0 * first)


def _sigmoid(z: Tensor, value: Tensor, order: int) -> Derivatives:
    return _logistic(value, order)


def _silu(z: Tensor, value: Tensor, order: int) -> Derivatives:
    # (z p)^(k) = z p^(k) + k p^(k-1)
    p = torch.sigmoid(z)
    chain = (p, *_logistic(p, order))
    return tuple(z * chain[k] + k * chain[k - 1] for k in range(1, order + 1))


def _gelu(z: Tensor, value: Tensor, order: int) -> Derivatives:
    # With the normal density d and its integral D: (z D)' = D + z d, and d' = -z d.
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    first = 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0))) + z * density
    if order == 1:
        return (first,)
    squared = z * z
    return (first, density * (2.0 - squared), density * z * (squared - 4.0))[:order]


def _softplus(module: nn.Softplus) -> Activation:
    beta, threshold = float(module.beta), float(module.threshold)

    def derivatives(z: Tensor, value: Tensor, order: int) -> Derivatives:
        # Above the threshold the module is the identity, so its derivatives are 1, 0, 0 there.
        p = torch.sigmoid(beta * z)
        linear = beta * z > threshold
        first = torch.where(linear, torch.ones_like(z), p)
        higher = (torch.where(linear, torch.zeros_like(z), beta**k * d) for k, d in enumerate(_logistic(p, order), start=1))
        return (first, *higher)[:order]

    return Activation(module.forward, derivatives)


_BY_TYPE: dict[type[nn.Module], Activation] = {
    nn.Tanh: Activation(tanh, _tanh),
    Tanh: Activation(tanh, _tanh),
    nn.Sigmoid: Activation(torch.sigmoid, _sigmoid),
    nn.SiLU: Activation(nn.functional.silu, _silu),
    Sin: Activation(torch.sin, _sin),
}


def activation_of(module: nn.Module) -> Activation | None:
    """Return the `Activation` of a module, or `None` where it has none.

    A module of the user's own may carry one as its attribute `activation`.
    """
    own = getattr(module, "activation", None)
    if isinstance(own, Activation):
        return own
    if isinstance(module, nn.Softplus):
        return _softplus(module)
    if isinstance(module, nn.GELU):
        return Activation(nn.functional.gelu, _gelu) if module.approximate == "none" else None
    return _BY_TYPE.get(type(module))
