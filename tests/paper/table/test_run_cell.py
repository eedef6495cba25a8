from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from homestretch.errors import CheckpointError, DataError
from homestretch.paper.settings import RECIPES
from homestretch.paper.table.cells import Cell, Machine
from homestretch.paper.table.run_cell import run_cell, wanted


@pytest.fixture
def hundred_classes(tmp_path):
    """A folder with made images in the layout of CIFAR-100's binary files: a coarse and a fine label before each image."""
    generator = np.random.default_rng(0)
    for name, count in (("train", 96), ("test", 64)):
        fine = generator.integers(0, 100, count).astype(np.uint8)
        pixels = generator.integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
        records = np.concatenate([(fine // 5)[:, None], fine[:, None], pixels], axis=1)
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    return tmp_path


def test_a_cell_of_a_hundred_classes(hundred_classes, tmp_path):
    cell = Cell("cifar-100", "vit-nomlp-wkewq-wvwo", "adam", 0, "tiny")
    (found,) = run_cell(cell, Machine(data_dir=hundred_classes), tmp_path / "out", ("cost", "printed"))
    assert found.parameters == 31_972
    assert found.overdetermination == pytest.approx(96 * 100 / 31_972)
    assert 0.0 <= found.validation_accuracy <= found.validation_top5 <= 1.0
    assert found.gradient_equivalents == pytest.approx(10.0)


@pytest.mark.parametrize(("recipe", "both"), [("adam", False), ("lbfgs", False), ("golden-30", True), ("auto", True)])
def test_which_cells_have_two_accountings(recipe, both):
    cell = Cell("mnist", "vit-mlp", recipe, 0, "tiny")
    assert wanted(cell, ("cost", "printed")) == (["cost", "printed"] if both else ["cost"])
    assert wanted(cell, ("cost",)) == ["cost"]


def test_a_recipe_is_written_down_as_in_folders_of_earlier_tables():
    written = {"first": "adam", "learning_rate": 1e-3, "schedule": "constant", "second": "none", "rule": "never"}
    assert asdict(RECIPES["adam"]) == written | {"swap_at": 0.3, "gradient_norm": "running-mean", "resort": True}


def test_the_settings_are_written_down_and_kept_to(tmp_path):
    cell = Cell("digits", "vit-nomlp-wkewq-wvwo", "adam", 0, "tiny")
    place = tmp_path / cell.path / "settings.json"
    place.parent.mkdir(parents=True)
    for text in ("{", '{"epochs": 11}'):
        place.write_text(text)
        with pytest.raises(CheckpointError, match="other settings"):
            run_cell(cell, Machine(), tmp_path)


def test_missing_data_are_said(tmp_path):
    with pytest.raises(DataError, match="no files of mnist"):
        run_cell(Cell("mnist", "vit-mlp", "adam", 0, "tiny"), Machine(data_dir=tmp_path), tmp_path / "out")
