r"""The hyperbolic tangent at the speed of the processor's vector units.

On a CPU, PyTorch's ``tanh`` takes most of the time of a pass through a network of one wide tanh layer. NumPy's is vectorised
(from Intel's short vector math library since 1.22, for AVX2 and Arm since 1.25), as accurate to 2 units in the last place,
and several times as fast. It runs on one thread, so torch's comes back where torch has more than four, and on small tensors, on
other devices than the CPU and inside ``torch.compile``.

The derivatives need no second transcendental: with :math:`t = \tanh z`, :math:`t' = 1 - t^2`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from homestretch.objective.nested import nested_forward_mode

__all__ = ["Tanh", "tanh"]

_LEAST = {torch.float64: 4096, torch.float32: 8192}  # entries at which the detour through NumPy costs what it saves
_MOST_THREADS = 4  # NumPy's on one thread and torch's on so many take the same time in float64


class Tanh(nn.Module):
    """`tanh`, elementwise: a drop-in for `torch.nn.Tanh` that is faster on few CPU threads, known to `taylor`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `tanh(inputs)`."""
        return tanh(inputs)


def tanh(z: Tensor) -> Tensor:
    """`tanh`, elementwise; it can be differentiated again and again, in both modes and under `torch.func`.

    Args:
        z: Any shape; float64 and float32 on a CPU are the fast ones.

    Returns:
        A tensor like `z`, within 2 units in the last place.
    """
    least = _LEAST.get(z.dtype)
    if least is None or z.numel() < least or z.device.type != "cpu" or torch.get_num_threads() > _MOST_THREADS:
        return torch.tanh(z)
    if torch.compiler.is_compiling() or nested_forward_mode():
        return torch.tanh(z)
    return _Tanh.apply(z)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(z: Tensor) -> Tensor:
        if type(z) not in (Tensor, nn.Parameter):  # a stand-in for a tensor, in which NumPy would see nothing
            return torch.tanh(z)
        value = torch.empty_like(z)
        np.tanh(z.detach().resolve_neg().numpy(), out=value.numpy())
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradients[0], value)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return tangents[0] * (1.0 - value * value)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _Tanh.apply(*arguments), in_dims[0]
