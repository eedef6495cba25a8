"""Where functions with derivatives written by hand must step aside."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["nested_forward_mode", "transformed"]


def nested_forward_mode() -> bool:
    """Whether one forward mode of `torch.func` runs inside another.

    PyTorch then loses the outer derivative of a `torch.autograd.Function` without a word (issue 197867 of pytorch/pytorch, open
    in 2026): plain operations are right there.
    """
    if torch.compiler.is_compiling():  # the compiler traces such functions as plain operations
        return False
    stack = torch._C._functorch.get_interpreter_stack()
    return stack is not None and sum(level.key() == torch._C._functorch.TransformType.Jvp for level in stack) > 1


def transformed(*tensors: Tensor | None) -> bool:
    """Whether more than a plain backward pass may be asked for.

    That is inside a transform of `torch.func`, `torch.compile` or forward mode, and in `autograd.grad` on a batch of gradients.
    """
    if torch.compiler.is_compiling() or torch._C._functorch.get_interpreter_stack() is not None:
        return True
    if forward_ad._current_level >= 0:  # a backward pass over dual numbers has a derivative too
        return True
    return any(t is not None and torch._C._functorch.is_legacy_batchedtensor(t) for t in tensors)
