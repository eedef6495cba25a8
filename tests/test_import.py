"""What importing the package brings along: it is paid for in every script and every worker."""

from __future__ import annotations

import subprocess
import sys

HEAVY = [
    "torch.distributed.tensor",
    "torch._dynamo",
    "sympy",
    "scipy",
    "pyarrow",
    "matplotlib",
    "PIL",
    "sklearn",
    "rich",
    "tyro",
]
HEAVY += ["lightning", "skorch", "deepxde", "jax"]
PROGRAM = f"import sys; import homestretch; print(*(name for name in {HEAVY!r} if name in sys.modules))"


def test_importing_brings_torch_and_numpy_and_nothing_heavy_beside_them() -> None:
    made = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    assert made.stdout.split() == []
