"""What is at hand is the least that anyone tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from homestretch import device_memory
from homestretch.device_memory import available

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, meminfo: str | None, groups: dict[str, str]) -> None:
    """Point the module at files in a folder; what is not given is not there."""
    for name, text in {**({"meminfo": meminfo} if meminfo else {}), **groups}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(device_memory, "_MEMINFO", folder / "meminfo")
    monkeypatch.setattr(device_memory, "_GROUPS", ((folder / "max", folder / "current"), (folder / "limit", folder / "usage")))


INFO = "MemTotal:  8000 kB\nMemAvailable:   4000 kB\n"


@pytest.mark.parametrize(
    ("meminfo", "groups", "wanted"),
    [
        (INFO, {}, 4000 * 1024),
        (INFO, {"max": "max\n", "current": "100\n"}, 4000 * 1024),
        (INFO, {"max": "5000\n", "current": "2000\n"}, 3000),
        (INFO, {"limit": "5000\n", "usage": "6000\n"}, 0),
        ("MemTotal: 8000 kB\n", {}, None),
        (None, {}, None),
    ],
)
def test_the_least_of_what_is_told(monkeypatch, tmp_path, meminfo, groups, wanted) -> None:
    pretend(monkeypatch, tmp_path, meminfo, groups)
    assert available(CPU) == wanted


def test_gpus_count_what_torch_holds_in_reserve(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert available(torch.device("cuda")) == 1300


def test_other_devices_tell_nothing() -> None:
    assert available(torch.device("meta")) is None
