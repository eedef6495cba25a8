"""One process a cell: a lock that the system lets go when its holder ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; waits for whoever holds it.

    A worker that was left behind by a killed table goes on with its cell: the table that comes after waits for it there and
    finds the cell finished. Where the system has no such locks (Windows) nothing is locked.
    """
    with (folder / ".lock").open("w") as stream:
        if find_spec("fcntl") is not None:
            fcntl = import_module("fcntl")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
