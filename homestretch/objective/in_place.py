r"""Taylor coefficients through an elementwise function, written straight into the result.

The formulas are those of `homestretch.objective.elementwise`. They are bound by memory: with a temporary tensor for every
product, and copies where results are joined, a network's tanh layers take more time than its matrix products. Here each
coefficient is written where it belongs and products are added in place, about half of the passes over memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from homestretch.objective.nested import transformed

if TYPE_CHECKING:
    from homestretch.objective.activations import Activation
    from homestretch.objective.elementwise import Applied, Layout

__all__ = ["backward", "forward", "possible"]


def possible(*tensors: Tensor | None) -> bool:
    """Whether tensors are plain ones, outside of `torch.func` and `torch.compile`, which know no results in place."""
    return not transformed(*tensors) and all(t is None or type(t) in (Tensor, nn.Parameter) for t in tensors)


def forward(stack: Tensor, shared: Tensor | None, bias: Tensor | None, activation: Activation, layout: Layout) -> Tensor:
    """Return the coefficients of the outputs; arguments and shapes are those of `elementwise.activate`."""
    D, S = layout.directions, layout.curved
    kept = D if layout.keep_first else 0
    output = stack.new_empty(1 + kept + layout.seconds, *stack.shape[1:])
    z = stack[0] if bias is None else stack[0] + bias
    value = activation.value(z)
    slope, *bend = activation.derivatives(z, value, 2 if S else 1)
    first = stack[1 : 1 + D] if shared is None else shared
    output[0].copy_(value)
    if kept:
        torch.mul(slope, first, out=output[1 : 1 + D])
    if S:
        curvature = output[1 + kept :]
        squares = _contract([(row, row) for row in first[:S]]).unsqueeze(0) if layout.collapsed else first[:S].square()
        torch.mul(bend[0], squares, out=curvature)
        if shared is None:
            curvature.addcmul_(slope, stack[1 + D :])
    return output


def backward(gradient: Tensor, applied: Applied) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of stack, shared derivatives and bias, given that of the output."""
    stack, shared, layout = applied.stack, applied.shared, applied.layout
    D, S = layout.directions, layout.curved
    kept = D if layout.keep_first else 0
    first, second = applied.parts()
    slope, bend, *third = applied.derivatives()
    up_first, up_second = gradient[1 : 1 + kept], gradient[1 + kept :]

    to_stack = stack.new_empty(stack.shape)
    to_z = torch.mul(slope, gradient[0], out=to_stack[0])
    pairs = list(zip(first, up_first, strict=False))
    if second is not None:
        pairs += zip(second, up_second, strict=True)
    if pairs:
        to_z.addcmul_(bend, _contract(pairs))
    if S:
        to_z.addcmul_(third[0], _against_squares(first[:S], up_second))
    to_bias = None if applied.bias is None else to_z.sum(0)

    if shared is not None:
        return to_stack, _to_shared(shared, slope, bend, up_first, up_second, S), to_bias
    if kept:
        torch.mul(slope, gradient[1:], out=to_stack[1:])
    else:
        to_stack[1 : 1 + D].zero_()
        torch.mul(slope, up_second, out=to_stack[1 + D :])
    if S:
        to_stack[1 : 1 + S].addcmul_(bend * up_second, first[:S], value=2.0)
    return to_stack, None, to_bias


def _to_shared(shared: Tensor, slope: Tensor, bend: Tensor, up_first: Tensor, up_second: Tensor, curved: int) -> Tensor:
    """Gradient of first derivatives that all points share: summed before the product, one pass over the points, not D."""
    total = (slope * up_first).sum(1, keepdim=True) if len(up_first) else torch.zeros_like(shared)
    if curved:
        total[:curved].addcmul_((bend * up_second).sum(1, keepdim=True), shared[:curved], value=2.0)
    return total


def _contract(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of the products of pairs of tensors."""
    (left, right), *rest = pairs
    total = left * right
    for left, right in rest:
        total.addcmul_(left, right)
    return total


def _against_squares(first: Tensor, up: Tensor) -> Tensor:
    """The sum over directions of the squared first derivatives, each times its own gradient or all times one."""
    if len(up) < len(first):
        return _contract([(row, row) for row in first]) * up[0]
    return _contract([(row * row, own) for row, own in zip(first, up, strict=True)])
