"""How far two losses must differ before the difference means anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

T = TypeVar("T")

# Relative rounding allowance of a loss by the coarsest dtype it was computed in. In float64 what limits a loss is seldom its
# own last digit but cancellation inside residuals, hence more than a few units; in the short dtypes a mean over many
# samples is better than its parts.
_ALLOWANCE = {torch.float64: 1e-10, torch.float32: 2e-6, torch.bfloat16: 2e-3, torch.float16: 3e-4}


def allowance(dtype: torch.dtype) -> float:
    """Relative rounding allowance of a loss computed in ``dtype``."""
    return _ALLOWANCE.get(dtype, 2e-6)


class _CoarsestDtype(TorchFunctionMode):
    """Notes the shortest floating dtype among the differentiable results of torch functions, autocast's included.

    What does not depend on the parameters (a batch that is cast before it is used) does not round the loss anew at each point.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad and result.dtype in _ALLOWANCE:
            shorter = self.found is None or torch.finfo(result.dtype).eps > torch.finfo(self.found).eps
            self.found = result.dtype if shorter else self.found
        return result


def watch_dtype(evaluate: Callable[[], T]) -> tuple[T, torch.dtype | None]:
    """Call ``evaluate`` and tell the coarsest floating dtype of what its torch functions computed from the parameters."""
    with _CoarsestDtype() as mode:
        result = evaluate()
    return result, mode.found
