"""Weights of residual terms, as they come from users."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from homestretch import plain


def weights_by_name(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights as numbers of Python's, which a state that is kept can be loaded with again.

    Raises:
        TypeError: If they are no numbers by name, or one is to be trained.
        ValueError: If one is not positive and finite.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must map the terms' names to numbers, as {{'border': 10.0}}, got {type(weights).__name__}")
    return {name: _weight(f"weight of {name!r}", value) for name, value in weights.items()}


def _weight(what: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(
            f"{what} must be a number, got a tensor that requires a gradient, which nothing would train: give float(weight), "
            "and change it between iterations by reweight"
        )
    number = plain.number(what, value)
    if not 0.0 < number < math.inf:
        raise ValueError(
            f"{what} must be positive and finite, got {number}: a term that shall not count is left out of what the residual "
            "function returns"
        )
    return number


def refuse_unknown(weights: Mapping[str, float], terms: Mapping[str, Any]) -> None:
    """Refuse weights of terms that the residual function does not return.

    Raises:
        ValueError: If there is one.
    """
    unknown = sorted(weights.keys() - terms.keys())
    if unknown:
        raise ValueError(
            f"weights name terms that the residual function does not return: {', '.join(unknown)}; it returns "
            f"{', '.join(terms)}"
        )
