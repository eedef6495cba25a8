"""Pickles and deep copies of optimizers: torch keeps their groups and state alone, ours are more than these."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

# What torch puts on an optimizer and makes again: hooks, and the step that profilers and schedules have wrapped.
_REMADE = ("step", "_opt_called")
_PREFIX = "_optimizer_"


def whole_state(optimizer: Optimizer) -> dict[str, Any]:
    """All attributes of an optimizer but those that torch makes again when it is unpickled."""
    return {k: v for k, v in optimizer.__dict__.items() if k not in _REMADE and not k.startswith(_PREFIX)}
