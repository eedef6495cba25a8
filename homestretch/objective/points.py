"""Points in the structure that the user chose: a tensor, or tuples, lists and dictionaries of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Points = Any
"""A tensor, or tuples, lists and dictionaries of tensors; the first dimension counts the points."""


def over(points: Points, function: Callable[[Tensor], Tensor]) -> Points:
    """Apply ``function`` to every tensor in a structure of points."""
    if isinstance(points, Tensor):
        return function(points)
    if isinstance(points, dict):
        return {key: over(value, function) for key, value in points.items()}
    if isinstance(points, (tuple, list)):
        return _sequence(points, (over(value, function) for value in points))
    raise TypeError(f"points must be tensors, or tuples, lists and dictionaries of them, got {type(points).__name__}")


def refuse_arrays(points: Points) -> None:
    """Refuse arrays of numpy's, which no network takes; whatever else a user's own points are is theirs to know.

    Raises:
        TypeError: If there is one.
    """
    if isinstance(points, np.ndarray):
        raise TypeError(f"points must be tensors, got a numpy array of shape {points.shape}: torch.as_tensor makes one of it")
    if isinstance(points, (dict, tuple, list)):
        for part in points.values() if isinstance(points, dict) else points:
            refuse_arrays(part)


def zipped(one: Points, other: Points, function: Callable[[Tensor, Tensor], Tensor]) -> Points:
    """Apply ``function`` to every pair of tensors at the same place of two structures.

    Raises:
        ValueError: If the structures differ.
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return function(one, other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: zipped(value, other[key], function) for key, value in one.items()}
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)) and len(one) == len(other):
        return _sequence(other, (zipped(a, b, function) for a, b in zip(one, other, strict=True)))
    raise ValueError(
        f"new points come as {type(one).__name__}, the old ones are {type(other).__name__}: both must have the same structure, "
        "what a domain draws included"
    )


def _sequence(like: tuple[Any, ...] | list[Any], values: Iterable[Any]) -> Any:
    """A tuple or list of the type of another one; named tuples take their fields one by one."""
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def count_points(points: Points) -> int | None:
    """The common first dimension of all tensors, or ``None`` if there is none."""
    found: set[int] = set()
    over(points, lambda t: (found.add(len(t) if t.ndim else -1), t)[1])
    return found.pop() if len(found) == 1 and -1 not in found else None


def leaf(new: Tensor, old: Tensor) -> Tensor:
    """Points apart from the graph that they came from; residual functions may ask for derivatives in them."""
    return new.detach().requires_grad_(old.requires_grad)


# --- dtypes ---


def cast(points: Points, dtype: torch.dtype) -> Points:
    """Points with their floating-point tensors in ``dtype``."""
    return None if points is None else over(points, lambda t: _cast(t, dtype))


def lengthened(points: Points, dtype: torch.dtype) -> Points:
    """Points with those of their floating-point tensors in ``dtype`` that are shorter."""
    return None if points is None else over(points, lambda t: _cast(t, dtype) if _is_shorter(t.dtype, dtype) else t)


def kinds_of(points: Points) -> Points:
    """What is needed to know the dtypes again: the structure, with empty tensors; ``None`` where it is none of ours."""
    try:
        return over(points, lambda t: t.detach().new_empty(0))
    except TypeError:  # only what casts, draws or differentiates points has to know how they are made
        return None


def recast(points: Points, kinds: Points, otherwise: torch.dtype) -> Points:
    """Points with the dtypes that :func:`kinds_of` noted, in another dtype where it noted none for them."""
    if points is None:
        return None
    try:
        return zipped(points, kinds, lambda t, kind: _cast(t, kind.dtype if kind.is_floating_point() else otherwise))
    except ValueError:  # points of another structure were given in the meantime
        return cast(points, otherwise)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point() or tensor.dtype == dtype:
        return tensor
    return leaf(tensor.to(dtype), tensor)


def _is_shorter(one: torch.dtype, other: torch.dtype) -> bool:
    return one.is_floating_point and torch.finfo(one).eps > torch.finfo(other).eps
