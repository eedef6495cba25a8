r"""An elementwise function applied to Taylor coefficients, with its derivatives by hand.

With :math:`s` the function, :math:`z` the value, :math:`z_d` and :math:`z_{dd}` its derivatives along a direction:

.. math:: (z,\; z_d,\; z_{dd}) \mapsto (s,\; s' z_d,\; s'' z_d^2 + s' z_{dd}).

The formulas stand here in plain operations, which can be differentiated again and run under every transform of
`torch.func`. Where nothing of that is asked for, `homestretch.objective.in_place` has the same formulas at half the memory
traffic, which is what they cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from homestretch.objective import in_place
from homestretch.objective.activations import Activation, Derivatives
from homestretch.objective.nested import nested_forward_mode

__all__ = ["Layout", "activate"]


class Layout(NamedTuple):
    """What a stack of coefficients holds after the value.

    Attributes:
        directions: D, the number of first derivatives.
        curved: S, how many of the directions, counted from the first, have second derivatives.
        collapsed: whether the second derivatives are kept as their sum alone.
        keep_first: whether an activation hands on the first derivatives.
    """

    directions: int
    curved: int
    collapsed: bool
    keep_first: bool = True

    @property
    def seconds(self) -> int:
        """The number of second-order coefficients."""
        return min(self.curved, 1) if self.collapsed else self.curved


def activate(stack: Tensor, shared: Tensor | None, bias: Tensor | None, activation: Activation, layout: Layout) -> Tensor:
    """Apply an elementwise function to a value and its derivatives.

    Args:
        stack: (1 + D + S, N, h), value first; the value alone, (1, N, h), where `shared` is given.
        shared: first derivatives that are the same for all points, (D, 1, h), with second ones of zero.
        bias: (h,), to be added to the value first.
        activation: the function.
        layout: what the stack holds, and what is wanted.

    Returns:
        The same coefficients of the outputs, (1 + D + S, N, h); (1 + S, N, h) without `keep_first`.
    """
    if nested_forward_mode():
        return _Activate.forward(stack, shared, bias, activation, layout)
    return _Activate.apply(stack, shared, bias, activation, layout)


class Applied(NamedTuple):
    """An activation, what it was applied to, as in `activate`, and what came out."""

    stack: Tensor
    shared: Tensor | None
    bias: Tensor | None
    output: Tensor
    activation: Activation
    layout: Layout

    @property
    def z(self) -> Tensor:
        """What the function was taken at, (N, h)."""
        return self.stack[0] if self.bias is None else self.stack[0] + self.bias

    def derivatives(self) -> Derivatives:
        """Those of the function at `z` that a derivative of the outputs takes, (N, h) each."""
        return self.activation.derivatives(self.z, self.output[0], 3 if self.layout.curved else 2)

    def parts(self) -> tuple[Tensor, Tensor | None]:
        """First derivatives, (D, N, h) or (D, 1, h), and second ones, (S, N, h) or `None` for zero."""
        return _parts(self.stack, self.shared, self.layout)


def _parts(stack: Tensor, shared: Tensor | None, layout: Layout) -> tuple[Tensor, Tensor | None]:
    if shared is not None:
        return shared, None
    return stack[1 : 1 + layout.directions], stack[1 + layout.directions :] if layout.seconds else None


class _Activate(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(stack: Tensor, shared: Tensor | None, bias: Tensor | None, activation: Activation, layout: Layout) -> Tensor:
        if in_place.possible(stack, shared, bias):
            return in_place.forward(stack, shared, bias, activation, layout)
        first, second = _parts(stack, shared, layout)
        z = stack[0] if bias is None else stack[0] + bias
        value = activation.value(z)
        if not layout.curved:
            (slope,) = activation.derivatives(z, value, 1)
            return torch.cat([value.unsqueeze(0), slope * first])
        slope, bend = activation.derivatives(z, value, 2)
        curvature = bend * _squares(first, layout)
        if second is not None:
            curvature = curvature + slope * second
        return torch.cat([value.unsqueeze(0), *([slope * first] if layout.keep_first else []), curvature])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        stack, shared, bias, ctx.activation, ctx.layout = inputs
        ctx.save_for_backward(stack, shared, bias, output)
        ctx.save_for_forward(stack, shared, bias, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        applied = _applied(ctx)
        once = not torch.is_grad_enabled() and in_place.possible(gradients[0], *ctx.saved_tensors)
        return (*(in_place.backward if once else _backward)(gradients[0], applied), None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        applied = _applied(ctx)
        stack, shared, layout = applied.stack, applied.shared, applied.layout
        S = layout.curved
        stack_dot, shared_dot, bias_dot = tangents[:3]
        stack_dot = torch.zeros_like(stack) if stack_dot is None else stack_dot
        if shared is not None and shared_dot is None:
            shared_dot = torch.zeros_like(shared)
        (first, second), (first_dot, second_dot) = applied.parts(), _parts(stack_dot, shared_dot, layout)
        z_dot = stack_dot[0] if bias_dot is None else stack_dot[0] + bias_dot
        slope, *higher = applied.derivatives()
        bend = higher[0]
        out = [(slope * z_dot).unsqueeze(0)]
        if layout.keep_first:
            out.append(bend * z_dot * first + slope * first_dot)
        if S:
            mixed = 2.0 * first[:S] * first_dot[:S]
            mixed = mixed.sum(0, keepdim=True) if layout.collapsed else mixed
            curvature = higher[1] * z_dot * _squares(first, layout) + bend * mixed
            if second is not None and second_dot is not None:
                curvature = curvature + bend * z_dot * second + slope * second_dot
            out.append(curvature)
        return torch.cat(out)


def _applied(ctx: Any) -> Applied:
    stack, shared, bias, output = ctx.saved_tensors
    return Applied(stack, shared, bias, output, ctx.activation, ctx.layout)


def _backward(gradient: Tensor, applied: Applied) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of stack, shared derivatives and bias; each operation can be differentiated again."""
    layout, (first, second) = applied.layout, applied.parts()
    D, S = layout.directions if layout.keep_first else 0, layout.curved
    up_first, up_second = gradient[1 : 1 + D], gradient[1 + D :]
    slope, bend, *third = applied.derivatives()
    to_z = slope * gradient[0]
    to_first = _sum_points(slope * up_first, first) if D else torch.zeros_like(first)
    if D:
        to_z = torch.addcmul(to_z, bend, _contract(first, up_first))
    if S:
        to_z = torch.addcmul(to_z, third[0], _contract(_squares(first, layout), up_second))
        # Summed before the product where all points share the derivative: one pass over the points, not D.
        curl = 2.0 * _sum_points(bend * up_second, first) * first[:S]
        to_first = torch.cat([to_first[:S] + curl, to_first[S:]])
    if second is not None:
        to_z = torch.addcmul(to_z, bend, _contract(second, up_second))
    to_bias = None if applied.bias is None else to_z.sum(0)
    if applied.shared is not None:
        return to_z.unsqueeze(0), to_first, to_bias
    to_second = [] if second is None else [slope * up_second]
    return torch.cat([to_z.unsqueeze(0), to_first, *to_second]), None, to_bias


def _squares(first: Tensor, layout: Layout) -> Tensor:
    """`z_d^2` for each direction of order 2, or the sum of these."""
    curved = first[: layout.curved]
    return _contract(curved, curved).unsqueeze(0) if layout.collapsed else curved * curved


def _contract(left: Tensor, right: Tensor) -> Tensor:
    """`sum_d left_d right_d`, an entry at a time, which needs no memory for the products."""
    total = left[0] * right[0]
    for a, b in zip(left[1:], right[1:], strict=True):
        total = torch.addcmul(total, a, b)
    return total


def _sum_points(gradient: Tensor, like: Tensor) -> Tensor:
    """Sum a gradient over the points (its second axis) where `like` is the same for all of them."""
    return gradient.sum(1, keepdim=True) if like.shape[1] == 1 != gradient.shape[1] else gradient
