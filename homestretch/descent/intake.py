"""What an optimizer takes in, checked: parameters that it can move, states that are whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def check_parameter(p: Tensor) -> None:
    """Refuse a parameter that no method of the convex phase can move.

    Raises:
        ValueError: If it is complex, or shorter than float32.
    """
    if p.is_complex():
        raise ValueError(
            f"a parameter of shape {tuple(p.shape)} is complex ({p.dtype}): optimise torch.view_as_real of it instead"
        )
    if p.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"a parameter of shape {tuple(p.shape)} has dtype {p.dtype}, too short for the steps of a convex phase: keep "
            "float32 parameters and use autocast inside the closure"
        )


def names_of(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the vectors of a state; without that of the best point, which comes and goes and is worth but rounding."""
    return sorted({name for entry in entries for name in entry} - {"best"})


def check_whole(names: Iterable[str], entries: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a state without all the vectors that it was saved with.

    Raises:
        ValueError: If some are missing.
    """
    if missing := set(names) - set(names_of(entries)):
        raise ValueError(
            f"the state lacks {', '.join(sorted(missing))}, which it was saved with: torch's distributed checkpoints load only "
            "what the optimizer holds already. Make it as it was made then, preconditioner included, and call its allocate() "
            "before the state to load into is taken"
        )
