from __future__ import annotations

import subprocess
import sys
import time

import pytest

from homestretch.paper.table.lock import locked

pytest.importorskip("fcntl")


def test_a_second_process_waits(tmp_path):
    code = f"""
from pathlib import Path
from homestretch.paper.table.lock import locked
with locked(Path({str(tmp_path)!r})):
    (Path({str(tmp_path)!r}) / "inside").touch()
"""
    with locked(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(0.5)
        assert not (tmp_path / "inside").exists()
        assert process.poll() is None
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "inside").exists()
