from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"lightning_regression": "lightning", "surrogate_skorch": "skorch", "poisson_deepxde": "deepxde"}
os.environ.setdefault("DDE_BACKEND", "pytorch")  # keeps DeepXDE from writing into the home folder

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture(autouse=True)
def _dtype_as_before():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs_at_reduced_size_and_prints_its_gain(path, capsys, tmp_path, monkeypatch):
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    monkeypatch.chdir(tmp_path)
    before, after = load(path).main(quick=True)
    printed = capsys.readouterr().out
    assert math.isfinite(before)
    assert math.isfinite(after)
    gained = after > before if path.stem == "image_field" else after < before  # decibels go up
    assert gained
    for error in (before, after):
        assert any(f"{error:{form}}" in printed for form in (".1e", ".2e", ".3f", ".1f"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text().splitlines()) < 80


def test_the_reference_of_burgers_is_that_of_the_benchmark():
    import numpy as np

    from benchmarks.sciml.burgers import exact

    x, t = np.linspace(-1, 1, 21), np.linspace(0, 1, 5)
    np.testing.assert_allclose(load(EXAMPLES / "burgers.py").exact(x, t), exact(x, t), atol=1e-6)
