"""Taylor coefficients in one tensor, and the rules by which layers map them.

A `Stack` is a tensor of shape (K, N, h): the value `z`, then the first derivatives along D directions, then the second
derivatives along the first S of these, or only their sum where the layout is collapsed. Before the first activation the
derivatives are the same for all points, which `Constant` exploits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from homestretch.objective.activations import Activation
from homestretch.objective.nested import nested_forward_mode


class Layout(NamedTuple):
    """What a stack holds after the value.

    Attributes:
        directions: D, the number of first derivatives.
        curved: S, how many of the directions, counted from the first, have second derivatives.
        collapsed: whether the second derivatives are kept as their sum alone.
    """

    directions: int
    curved: int
    collapsed: bool

    @property
    def seconds(self) -> int:
        """The number of second-order coefficients."""
        return min(self.curved, 1) if self.collapsed else self.curved


@dataclass(frozen=True)
class Constant:
    """Before any activation: values (N, h), constant first derivatives (D, h), no second ones."""

    values: Tensor
    first: Tensor
    layout: Layout

    def linear(self, weight: Tensor, bias: Tensor | None) -> Constant:
        """Apply `x -> x W' + b`."""
        return Constant(torch.nn.functional.linear(self.values, weight, bias), self.first @ weight.T, self.layout)

    def activate(self, activation: Activation, keep_first: bool) -> Stack:
        """Apply an elementwise function."""
        coefficients = _activate(self.values, self.first.unsqueeze(1), None, activation, self.layout, keep_first)
        return Stack(coefficients, None, self.layout, keep_first)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the values and all derivatives, shape (K - 1, N, h)."""
        points, width = self.values.shape
        first = self.first.unsqueeze(1).expand(-1, points, -1)
        return self.values, torch.cat([first, first.new_zeros(self.layout.seconds, points, width)])


@dataclass(frozen=True)
class Stack:
    """After an activation: coefficients (K, N, h), and a bias (h,) not yet added to the value."""

    coefficients: Tensor
    bias: Tensor | None
    layout: Layout
    has_first: bool = True

    def linear(self, weight: Tensor, bias: Tensor | None) -> Stack:
        """Apply `x -> x W' + b`; the bias is left to whoever reads the value, which saves a pass over the stack."""
        carried = None if self.bias is None else weight @ self.bias
        if carried is not None:
            bias = carried if bias is None else bias + carried
        return Stack(self.coefficients @ weight.T, bias, self.layout, self.has_first)

    def activate(self, activation: Activation, keep_first: bool) -> Stack:
        """Apply an elementwise function."""
        values, first, second = self.coefficients.split([1, self.layout.directions, self.layout.seconds])
        values = values[0] if self.bias is None else values[0] + self.bias
        second_or_none = second if self.layout.seconds else None
        coefficients = _activate(values, first, second_or_none, activation, self.layout, keep_first)
        return Stack(coefficients, None, self.layout, keep_first)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the values and all derivatives that the stack holds."""
        values, rest = self.coefficients[0], self.coefficients[1:]
        return (values if self.bias is None else values + self.bias), rest


def _activate(*arguments: Any) -> Tensor:
    return _Activate.forward(*arguments) if nested_forward_mode() else _Activate.apply(*arguments)


class _Activate(torch.autograd.Function):
    """`(z, z_d, z_dd) -> (s, s' z_d, s'' z_d^2 + s' z_dd)`, with the backward pass by hand.

    Shapes: z (N, h); z_d (D, N, h), or (D, 1, h) where it is the same for all points; z_dd (S, N, h) or None for zero.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        z: Tensor, first: Tensor, second: Tensor | None, activation: Activation, layout: Layout, keep_first: bool
    ) -> Tensor:
        value = activation.value(z)
        if not layout.curved:
            (slope,) = activation.derivatives(z, value, 1)
            return torch.cat([value.unsqueeze(0), slope * first])
        slope, bend = activation.derivatives(z, value, 2)
        curvature = bend * _squares(first, layout)
        if second is not None:
            curvature = curvature + slope * second
        parts = [value.unsqueeze(0), slope * first, curvature] if keep_first else [value.unsqueeze(0), curvature]
        return torch.cat(parts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        z, first, second, ctx.activation, ctx.layout, ctx.keep_first = inputs
        ctx.save_for_backward(z, first, second, output)
        ctx.save_for_forward(z, first, second, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        z, first, second, output = ctx.saved_tensors
        layout: Layout = ctx.layout
        gradient = gradients[0]
        D, S = layout.directions if ctx.keep_first else 0, layout.curved
        up_first, up_second = gradient[1 : 1 + D], gradient[1 + D :]
        slope, bend, *third = ctx.activation.derivatives(z, output[0], 3 if S else 2)
        to_z = slope * gradient[0]
        to_first = to_second = None
        if D:
            to_z = torch.addcmul(to_z, bend, _contract(first, up_first))
            to_first = _sum_points(slope * up_first, first)
        if S:
            to_z = torch.addcmul(to_z, third[0], _contract(_squares(first, layout), up_second))
            # Summed before the product where all points share the derivative: one pass over the points, not D.
            curl = _sum_points(bend * up_second, first)
            if second is not None:
                to_z = torch.addcmul(to_z, bend, _contract(second, up_second))
                to_second = slope * up_second
            to_first = _add_to_head(to_first, 2.0 * curl * first[:S], first)
        return to_z, to_first, to_second, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        z, first, second, output = ctx.saved_tensors
        layout: Layout = ctx.layout
        S = layout.curved
        z_dot, first_dot, second_dot = tangents[:3]
        z_dot = torch.zeros_like(z) if z_dot is None else z_dot
        first_dot = torch.zeros_like(first) if first_dot is None else first_dot
        slope, *higher = ctx.activation.derivatives(z, output[0], 3 if S else 2)
        bend = higher[0]
        parts = [(slope * z_dot).unsqueeze(0)]
        if ctx.keep_first:
            parts.append(bend * z_dot * first + slope * first_dot)
        if S:
            mixed = 2.0 * first[:S] * first_dot[:S]
            mixed = mixed.sum(0, keepdim=True) if layout.collapsed else mixed
            curvature = higher[1] * z_dot * _squares(first, layout) + bend * mixed
            if second is not None:
                second_dot = torch.zeros_like(second) if second_dot is None else second_dot
                curvature = curvature + bend * z_dot * second + slope * second_dot
            parts.append(curvature)
        return torch.cat(parts)


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


def _add_to_head(whole: Tensor | None, head: Tensor, like: Tensor) -> Tensor:
    """Return `whole`, or zeros like the last argument, with `head` added to its first entries."""
    count = head.shape[0]
    if count == like.shape[0]:
        return head if whole is None else whole + head
    rest = torch.zeros_like(like[count:]) if whole is None else whole[count:]
    return torch.cat([head if whole is None else whole[:count] + head, rest])
