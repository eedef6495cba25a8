"""Taylor coefficients in one tensor, and the rules by which layers map them.

A `Stack` is a tensor of shape (K, N, h): the value `z`, then the first derivatives along D directions, then the second
derivatives along the first S of these, or only their sum where the layout is collapsed. Before the first activation the
derivatives are the same for all points, which `Constant` exploits. `activate` maps either through an elementwise function.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.objective.activations import Activation
from homestretch.objective.elementwise import Layout, activate


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
        layout = self.layout._replace(keep_first=keep_first)
        coefficients = activate(self.values.unsqueeze(0), self.first.unsqueeze(1), None, activation, layout)
        return Stack(coefficients, None, self.layout)

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

    def linear(self, weight: Tensor, bias: Tensor | None) -> Stack:
        """Apply `x -> x W' + b`; the bias is left to whoever reads the value, which saves a pass over the stack."""
        carried = None if self.bias is None else weight @ self.bias
        if carried is not None:
            bias = carried if bias is None else bias + carried
        return Stack(self.coefficients @ weight.T, bias, self.layout)

    def activate(self, activation: Activation, keep_first: bool) -> Stack:
        """Apply an elementwise function."""
        layout = self.layout._replace(keep_first=keep_first)
        return Stack(activate(self.coefficients, None, self.bias, activation, layout), None, self.layout)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Return the values and all derivatives that the stack holds."""
        values, rest = self.coefficients[0], self.coefficients[1:]
        return (values if self.bias is None else values + self.bias), rest
