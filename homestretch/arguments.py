"""Checks of arguments at the door, shared by the plain-Python rooms: each returns the value or says what to do."""

from __future__ import annotations

import math
import numbers


def positive(name: str, value: float) -> float:
    """``value``, if it is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    return value


def at_least(name: str, value: float, lowest: float) -> float:
    """``value``, if it is finite and not below ``lowest``."""
    if not (math.isfinite(value) and value >= lowest):
        raise ValueError(f"{name} must be a finite number, {lowest} or more, got {value}")
    return value


def count(name: str, value: int) -> int:
    """``value``, if it is a whole number from 1; anything else is a wrong value, for it may have come in another's place."""
    if not (isinstance(value, numbers.Real) and math.isfinite(value) and value >= 1 and value == int(value)):
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value}")
    return int(value)


def fraction(name: str, value: float) -> float:
    """``value``, if it is above 0 and at most 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """``value``, if it is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value
