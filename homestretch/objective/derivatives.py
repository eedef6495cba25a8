r"""Input derivatives of any module by forward mode, and a choice between that and Taylor propagation by measured time.

:func:`~homestretch.objective.taylor.taylor` knows chains of linear layers and activations; :func:`forward` takes any module
whose operations have forward-mode derivatives, at a forward pass with a tangent for each direction and one with two for each
of order 2. Which is faster depends on the network, the directions and the machine: :func:`fastest` measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from homestretch.errors import UnsupportedError
from homestretch.objective.taylor import Taylor, as_directions, as_orders, taylor

TAYLOR = "taylor"
FORWARD = "forward"
_RUNS = 3  # timed; one more before them warms up


def forward(net: nn.Module, inputs: Tensor, directions: Tensor | None = None, order: int | Sequence[int] = 2) -> Taylor:
    """A network's values with first and second directional derivatives, by forward mode.

    Args:
        net: Any module that maps (N, n) to (N, m).
        inputs: Points, shape (N, n).
        directions: One a row, shape (D, n), the same for all points; the coordinate axes if not given.
        order: 2 or 1, for all directions or one by one.

    Raises:
        ValueError: If shapes or orders do not fit.
    """
    rows = as_directions(inputs, directions)
    values, first, second = None, [], []
    for row, times in zip(rows, as_orders(order, len(rows)), strict=True):
        tangent = row.expand_as(inputs)
        if times == 1:
            values, slope = _push(net, inputs, tangent)
        else:
            (values, slope), (_, bend) = _push(lambda x: _push(net, x, tangent), inputs, tangent)  # noqa: B023 - called at once
            second.append(bend)
        first.append(slope)
    assert values is not None
    return Taylor(values, torch.stack(first), torch.stack(second) if second else values.new_zeros(0, *values.shape))


def _push(function: Callable[[Tensor], Any], inputs: Tensor, tangent: Tensor) -> tuple[Any, Any]:
    """What a function returns, and the derivative of that along ``tangent``."""
    value, derivative, *_ = torch.func.jvp(function, (inputs,), (tangent,))
    return value, derivative


_WAYS = {TAYLOR: taylor, FORWARD: forward}


@dataclass(frozen=True)
class Derivatives:
    """Values and derivatives by the way that was chosen: call it as ``derivatives(net, inputs)``.

    Attributes:
        mode: ``"taylor"`` or ``"forward"``.
        seconds: What each way took, for values, derivatives and a backward pass to the parameters; the ways that work.
        reason: Why this one, a sentence.
        directions: One a row; ``None`` for the coordinate axes.
        order: 2 or 1, for all directions or one by one.
    """

    mode: str
    seconds: dict[str, float]
    reason: str
    directions: Tensor | None = field(default=None, repr=False)
    order: int | Sequence[int] = 2

    def __call__(self, net: nn.Module, inputs: Tensor) -> Taylor:
        """The network's values and derivatives at ``inputs``, shape (N, n)."""
        return _WAYS[self.mode](net, inputs, self.directions, self.order)


def fastest(net: nn.Module, inputs: Tensor, directions: Tensor | None = None, order: int | Sequence[int] = 2) -> Derivatives:
    """Choose the faster way for a network and points like these, by timing each a few times.

    Example:
        >>> derivatives = fastest(model, points, order=(2, 1))
        >>> def residual(model, points):
        ...     u, (u_x, u_t), (u_xx,) = derivatives(model, points)
        ...     return u_t + u * u_x - 0.01 * u_xx

    Raises:
        UnsupportedError: If neither way works.
        ValueError: If shapes or orders do not fit.
    """
    as_orders(order, len(as_directions(inputs, directions)))
    seconds, refusals = {}, []
    for mode, way in _WAYS.items():
        try:
            seconds[mode] = min(_timed(way, net, inputs, directions, order) for _ in range(_RUNS + 1))
        except (TypeError, RuntimeError) as error:
            refusals.append(f"{mode}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    if not seconds:
        raise UnsupportedError(
            "the network's derivatives can be had neither by Taylor propagation nor by forward mode; differentiate by "
            f"torch.autograd.grad(..., create_graph=True) in the residual. {'; '.join(refusals)}"
        )
    mode = min(seconds, key=lambda name: seconds[name])
    figures = ", ".join(f"{name} {1e3 * value:.2g} ms" for name, value in seconds.items())
    return Derivatives(mode, seconds, "; ".join([f"measured: {figures}", *refusals]), directions, order)


def _timed(
    way: Callable[..., Taylor], net: nn.Module, inputs: Tensor, directions: Tensor | None, order: int | Sequence[int]
) -> float:
    """Seconds for values, derivatives and the gradient of their squares in the parameters, whose ``.grad`` stays."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    _wait(inputs)
    started = time.perf_counter()
    with torch.enable_grad():
        total = torch.stack([t.square().sum() for t in way(net, inputs.detach(), directions, order)]).sum()
    if parameters:
        torch.autograd.grad(total, parameters, allow_unused=True)
    _wait(inputs)
    return time.perf_counter() - started


def _wait(inputs: Tensor) -> None:
    if inputs.is_cuda:
        torch.cuda.synchronize(inputs.device)
