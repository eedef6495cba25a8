from __future__ import annotations

from dataclasses import replace

import pytest

from homestretch.paper.table.cells import Machine, cells
from homestretch.paper.table.outcome import Outcome
from homestretch.paper.table.workers import run_cells

MODEL = "vit-nomlp-wkewq-wvwo"


@pytest.fixture(scope="session")
def tiny_table(tmp_path_factory):
    """The folder of a table: three recipes on a few digits, golden-30 at both accountings."""
    out = tmp_path_factory.mktemp("table")
    todo = cells(["digits"], [MODEL], ["golden-30", "lbfgs"], [0], "tiny")
    assert run_cells(todo, Machine(), out, accountings=("cost", "printed"), say=lambda line: None) == []
    return out


@pytest.fixture
def outcome():
    """Makes an outcome; what is not given is ordinary."""
    ordinary = Outcome(
        set="mnist",
        model="vit-nomlp",
        recipe="adam",
        seed=0,
        size="tenth",
        accounting="cost",
        train_loss=1e-3,
        train_accuracy=0.99,
        validation_loss=2e-2,
        validation_accuracy=0.9,
        validation_top5=None,
        parameters=54_794,
        overdetermination=1.095,
        budget=300.0,
        gradient_equivalents=300.0,
        evaluations=3600,
        seconds=120.0,
        epochs=300,
        swap_epoch=None,
        returns=0,
        reason="",
        stop="the budget is spent",
        device="cpu",
        version="homestretch 0, torch 0",
    )
    return lambda **changes: replace(ordinary, **changes)
