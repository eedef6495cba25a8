"""Python's own numbers out of whatever measured them: JSON and checkpoints hold no numpy scalars and no tensors."""

from __future__ import annotations

from typing import Any

_OURS = (float, int, bool)


def number(name: str, value: Any) -> float:
    """``value`` as a number of Python's, itself if it is one.

    Args:
        name: What it is called in the error.
        value: A number, a numpy scalar, a tensor of one entry.

    Raises:
        TypeError: If it is none of these.
    """
    if type(value) in _OURS:
        return value
    try:
        if isinstance(value, (str, bytes)):  # which float would parse
            raise TypeError("text")
        return float(value.detach() if hasattr(value, "detach") else value)  # torch warns of a number with a graph
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(value).__name__
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise TypeError(
            f"{name} must be a number, got {kind}{shape}: give one number, of several entries their mean or each by a name"
        ) from error


def numbers(name: str, values: dict[str, Any]) -> dict[str, float]:
    """Values by name as numbers of Python's; ``values`` itself if all are.

    Raises:
        TypeError: If one is not a number.
    """
    if all(type(value) in _OURS for value in values.values()):
        return values
    return {key: number(f"{name}[{key!r}]", value) for key, value in values.items()}
