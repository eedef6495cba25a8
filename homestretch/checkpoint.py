"""Checkpoints of a whole run: one file, replaced atomically, the previous one kept.

A checkpoint is written beside its place, flushed to the disk and renamed, so that a kill at any moment leaves either the
old file or the new one. It is read with ``weights_only=True``: loading runs no code.
"""

from __future__ import annotations

import copy
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from homestretch.errors import CheckpointError

_FORMAT = "homestretch-checkpoint"
_VERSION = 2  # raised whenever a state gets entries that older ones lack
NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"


def save(folder: str | os.PathLike[str], content: dict[str, Any]) -> Path:
    """Write ``content`` (tensors, numbers, strings and containers of them) and the random state into ``folder``.

    Numbers of numpy's, which a learning rate or a budget may have brought along, become Python's: they could not be read again.

    Returns:
        The checkpoint's path.

    Raises:
        CheckpointError: If there is something else in it, which :func:`load` could not read. What was there before stays.
    """
    place = Path(folder) / NAME
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_suffix(".writing")
    with aside.open("wb") as stream:
        try:
            torch.save({"format": _FORMAT, "version": _VERSION, "random": random_state(), **_without_numpy(content)}, stream)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise _unreadable(place, str(error)) from error
        stream.flush()
        os.fsync(stream.fileno())
    if foreign := get_unsafe_globals_in_checkpoint(aside):
        raise _unreadable(place, f"it would hold {', '.join(sorted(foreign))}")
    if place.exists():
        os.replace(place, place.with_name(PREVIOUS))
    os.replace(aside, place)
    _flush_folder(place.parent)
    return place


def _unreadable(place: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{place} could not be read again: {why}. A checkpoint holds tensors, numbers, strings and containers of them, and "
        "something in the state_dict() of the model, an optimizer, the schedule or the rule is none: leave it out there, or "
        "name its class to torch.serialization.add_safe_globals"
    )


def present(folder: str | os.PathLike[str]) -> bool:
    """Whether ``folder`` holds a checkpoint."""
    return any((Path(folder) / name).exists() for name in (NAME, PREVIOUS))


def load(folder: str | os.PathLike[str], *, previous: bool = False) -> dict[str, Any]:
    """Read the checkpoint of ``folder``; the previous one if that is asked for, or if a kill came between two renames.

    Raises:
        CheckpointError: If there is none, or it is damaged or not ours. The message names the file.
    """
    folder = Path(folder)
    place = folder / NAME
    if previous or (not place.exists() and (folder / PREVIOUS).exists()):
        place = folder / PREVIOUS
    if not place.exists():
        raise CheckpointError(f"there is no checkpoint in {folder}: expected {NAME}, which a run with an output folder writes")
    try:
        content = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:
        before = place.with_name(PREVIOUS)
        hint = f". The one before it is {before}: rename it to {NAME} to go on from there" if before.exists() else ""
        raise CheckpointError(f"{place} is damaged or not a checkpoint: {type(error).__name__}{hint}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{place} was not written by homestretch")
    if (version := content.get("version")) != _VERSION:
        raise CheckpointError(
            f"{place} has format version {version}, this homestretch reads {_VERSION}: go on with the version that wrote it, "
            "or begin anew in another folder"
        )
    return content


def _without_numpy(value: Any) -> Any:
    """``value`` with Python's numbers in place of numpy scalars, at any depth; containers without any are kept as they are."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        pairs = [(_without_numpy(k), _without_numpy(v)) for k, v in value.items()]
        if all(k is known and v is value[known] for (k, v), known in zip(pairs, value, strict=True)):
            return value
        changed = copy.copy(value)  # its kind and what torch keeps on it: the versions of a module's state
        changed.clear()
        for k, v in pairs:
            changed[k] = v
        return changed
    if type(value) in (list, tuple):
        items = [_without_numpy(v) for v in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value


def random_state() -> dict[str, Any]:
    """The state of the random generators of Python, NumPy and torch, in plain types."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - the global generator is what users may rely on
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the random generators back to :func:`random_state`'s result."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _flush_folder(folder: Path) -> None:
    """Make the renames durable, on systems where a folder can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
