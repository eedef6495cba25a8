"""Checks of arguments at the door, shared by the plain-Python rooms: each returns the value or says what to do."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


def number(name: str, value: Any) -> float:
    """``value`` as a number of Python's, which JSON and checkpoints take: itself, or what a numpy scalar stands for.

    Raises:
        TypeError: If it is no real number; ``True`` is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    return value if type(value) in (int, float) else float(value)  # type: ignore[return-value]


def finite(name: str, value: float) -> float:
    """``value``, if it is a finite number."""
    if not math.isfinite(found := number(name, value)):
        raise ValueError(f"{name} must be finite, got {value}")
    return found


def positive(name: str, value: float) -> float:
    """``value``, if it is finite and above 0."""
    found = number(name, value)
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}")
    return found


def at_least(name: str, value: float, lowest: float) -> float:
    """``value``, if it is finite and not below ``lowest``."""
    found = number(name, value)
    if not (math.isfinite(found) and found >= lowest):
        raise ValueError(f"{name} must be a finite number, {lowest} or more, got {value}")
    return found


def count(name: str, value: int) -> int:
    """``value``, if it is a whole number from 1; anything else is a wrong value, for it may have come in another's place."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and math.isfinite(value) and value >= 1 and value == int(value)):
        raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")
    return int(value)


def fraction(name: str, value: float) -> float:
    """``value``, if it is above 0 and at most 1."""
    found = number(name, value)
    if not 0 < found <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return found


def integer(name: str, value: int) -> int:
    """``value``, if it is a whole number, below 0 too.

    Raises:
        TypeError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    return int(value)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """``value``, if it is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def functions(name: str, value: Any) -> list[Any]:
    """``value`` as a list, if it is a sequence of what can be called.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name} must be a list of functions, got {type(value).__name__}: give [function]")
    if wrong := [v for v in value if not callable(v)]:
        raise TypeError(f"{name} must hold functions alone, got {wrong[0]!r}")
    return list(value)


def options(of: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options by names that are not known, with those that are.

    Raises:
        TypeError: If there is such a name.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise TypeError(f"{of} takes no argument {name!r}: {hint}Beside its own it passes on {', '.join(known)}")
