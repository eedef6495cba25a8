"""How much memory is at hand on a device."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
# The limit of the process's group and what the group uses, as version 2 and version 1 of control groups tell them.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def available(device: torch.device) -> int | None:
    """Bytes that new tensors on ``device`` may take, or ``None`` where nobody can tell.

    On a GPU what is free and what torch holds in reserve; on the CPU what the system calls available, or less where the
    process's control group is limited.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    found = [value for value in (_system(), *(_left(*files) for files in _GROUPS)) if value is not None]
    return min(found) if found else None


def _system() -> int | None:
    """What Linux calls available, in bytes."""
    if not _MEMINFO.exists():
        return None
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left(limit: Path, usage: Path) -> int | None:
    """What a control group may still use, in bytes."""
    try:
        return max(int(limit.read_text()) - int(usage.read_text()), 0)
    except (OSError, ValueError):  # no such group, or "max" for no limit
        return None
