from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("DDE_BACKEND", "pytorch")  # keeps DeepXDE from writing into the home folder


@pytest.fixture(autouse=True)
def _dtype_as_before():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)
