"""The process that a benchmark runs in: what must be set before it begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SETTINGS = {
    # Keeps freed memory in the process: tensors of these sizes are otherwise mapped and unmapped at every evaluation.
    "MALLOC_TRIM_THRESHOLD_": str(10**11),
    "MALLOC_MMAP_THRESHOLD_": str(10**11),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""One thread, and an allocator that keeps what it has."""


def restart_with(settings: Mapping[str, str], module: str) -> None:
    """Start this program again in another environment, if it is not in it: the C library reads it when a process begins."""
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **settings})
