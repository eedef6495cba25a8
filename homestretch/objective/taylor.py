"""Derivatives of a network with respect to its inputs, by Taylor propagation.

A residual such as `u_t + u u_x - nu u_xx` needs the network's value together with first and second derivatives along a
few input directions. Automatic differentiation reaches them by backward passes through backward passes. Here the
coefficients of `u(x + t d)`, namely `u`, `D_d u` and `D_d^2 u`, go forward through the layers side by side:

- a linear layer maps them all by the same matrix, in one product, and its bias moves the value alone;
- an activation `s` maps `(z, z_d, z_dd)` to `(s(z), s'(z) z_d, s''(z) z_d^2 + s'(z) z_dd)`, the chain rule twice.

Where only the sum of the second derivatives is wanted (a Laplacian), that sum is propagated in place of its
terms: one coefficient instead of one a direction (the "forward Laplacian" of Li et al., 2024).

The result can be differentiated with respect to the parameters and the inputs, by `backward`, again by `backward` through
that, and by `torch.func`. The activation's backward pass is written by hand: autograd would keep and revisit every
intermediate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from homestretch.objective.activations import activation_of
from homestretch.objective.elementwise import Layout
from homestretch.objective.stacks import Constant, Stack

Module = TypeVar("Module", bound=nn.Module)


class Taylor(NamedTuple):
    """A network's outputs and their derivatives along directions `d`, for N inputs and m outputs.

    Attributes:
        values: `u`, shape (N, m).
        first: `D_d u`, one entry a direction, shape (D, N, m).
        second: `D_d^2 u`, one entry a direction of order 2, in the order given, shape (S, N, m).
    """

    values: Tensor
    first: Tensor
    second: Tensor


def taylor(net: nn.Module, inputs: Tensor, directions: Tensor | None = None, order: int | Sequence[int] = 2) -> Taylor:
    """Return the network's values with first and second directional derivatives.

    Args:
        net: `nn.Linear` layers and elementwise activations, in an `nn.Sequential` (nested, if you like).
        inputs: points, shape (N, n).
        directions: one a row, shape (D, n), the same for all points; the coordinate axes if not given.
        order: 2 or 1, for all directions or one by one: `order=(2, 1)` gives `u_xx` but not `u_tt`, and costs less.

    Raises:
        TypeError: the network holds a module that is not known here, or one with forward hooks, which would not run.
        ValueError: shapes or orders do not fit.
    """
    rows = as_directions(inputs, directions)
    orders = as_orders(order, rows.shape[0])
    # Directions of order 2 come first inside, so that they are one slice of the stack.
    inside = sorted(range(len(orders)), key=lambda i: -orders[i])
    curved = orders.count(2)
    layout = Layout(directions=len(orders), curved=curved, collapsed=False)
    values, rest = _propagate(net, inputs, rows[inside], layout)
    first, second = rest[: len(orders)], rest[len(orders) :]
    if inside != sorted(inside):
        back = torch.tensor([inside.index(i) for i in range(len(orders))], device=inputs.device)
        first = first.index_select(0, back)
    return Taylor(values, first, second)


def laplacian(net: nn.Module, inputs: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the values and the sum of the second derivatives along the directions, each of shape (N, m).

    Args:
        net: as for `taylor`.
        inputs: points, shape (N, n).
        directions: one a row, shape (D, n); the coordinate axes if not given, which makes the sum the Laplacian. A
            direction scaled by `sqrt(c)` enters with the factor `c`, so `sum_k c_k u_kk` with positive `c_k` fits too.
    """
    rows = as_directions(inputs, directions)
    layout = Layout(directions=rows.shape[0], curved=rows.shape[0], collapsed=True)
    values, rest = _propagate(net, inputs, rows, layout)
    return values, rest[-1]


def _propagate(net: nn.Module, inputs: Tensor, directions: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    modules = _flatten(net)
    last = max((i for i, module in enumerate(modules) if activation_of(module)), default=-1)
    state: Constant | Stack = Constant(inputs, directions, layout)
    for i, module in enumerate(modules):
        if _is(module, nn.Linear):
            state = state.linear(module.weight, module.bias)
        else:
            activation = activation_of(module)
            if activation is None:
                raise TypeError(_unknown(module))
            # Past the last activation all is linear, where a sum of second derivatives needs no first ones.
            state = state.activate(activation, keep_first=not (layout.collapsed and i == last))
    return state.finish()


def _flatten(net: nn.Module) -> list[nn.Module]:
    if net._forward_hooks or net._forward_pre_hooks:
        raise TypeError(_hooked(net))
    if _is(net, nn.Sequential):
        return [module for child in net for module in _flatten(child)]
    return [] if _is(net, nn.Identity) else [net]


def _is(module: nn.Module, kind: type[Module]) -> TypeGuard[Module]:
    # A subclass that brings its own forward pass is another function.
    known: Any = kind
    given: Any = type(module)
    return isinstance(module, kind) and given.forward is known.forward


def _hooked(module: nn.Module) -> str:
    return (
        f"taylor cannot pass through {type(module).__name__} with forward hooks: it calls no module, so they would not run. "
        "For torch.nn.utils.weight_norm and spectral_norm take those of torch.nn.utils.parametrizations; after pruning call "
        "torch.nn.utils.prune.remove; for hooks of your own take homestretch.objective.derivatives.forward, which calls "
        "the network."
    )


def _unknown(module: nn.Module) -> str:
    return (
        f"taylor cannot pass through {type(module).__name__}: it knows nn.Linear, nn.Tanh, nn.Sigmoid, nn.SiLU, "
        'nn.GELU(approximate="none"), nn.Softplus, homestretch.objective.activations.Sin and nn.Identity, in an '
        "nn.Sequential. For an elementwise module of your own, set its attribute `activation` to a "
        "homestretch.objective.activations.Activation; for anything else take homestretch.objective.derivatives.forward, "
        "which calls the network, or torch.autograd.grad(..., create_graph=True) in the residual."
    )


def as_directions(inputs: Tensor, directions: Tensor | None) -> Tensor:
    """Directions for points, one a row: the coordinate axes if none are given.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if inputs.ndim != 2 or not inputs.is_floating_point():
        raise ValueError(f"inputs must be floating-point of shape (N, n); got {inputs.dtype}, {tuple(inputs.shape)}")
    if directions is None:
        return torch.eye(inputs.shape[1], dtype=inputs.dtype, device=inputs.device)
    if directions.ndim != 2 or directions.shape[1] != inputs.shape[1] or directions.shape[0] == 0:
        raise ValueError(
            f"directions must have shape (D, {inputs.shape[1]}), one direction a row; got {tuple(directions.shape)}"
        )
    return directions.to(inputs)


def as_orders(order: int | Sequence[int], count: int) -> list[int]:
    """The order of each of ``count`` directions.

    Raises:
        ValueError: If there is not one of them for each, or one is neither 1 nor 2.
    """
    orders = [order] * count if isinstance(order, int) else list(order)
    if len(orders) != count or any(value not in (1, 2) for value in orders):
        raise ValueError(f"order must be 1 or 2, or {count} of these, one a direction; got {order!r}")
    return orders
