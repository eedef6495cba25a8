from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from homestretch.errors import CheckpointError
from homestretch.paper.table import workers
from homestretch.paper.table.cells import Machine, cells
from homestretch.paper.table.outcome import OUTCOMES, collect, read_outcomes, write_outcomes
from homestretch.paper.table.run_cell import missing, run_cell
from homestretch.paper.table.workers import run_cells

MODEL = "vit-nomlp-wkewq-wvwo"


def some(*recipes):
    return cells(["digits"], [MODEL], recipes, [0], "tiny")


def key(outcome):
    return (outcome.recipe, outcome.accounting, outcome.train_loss, outcome.validation_accuracy, outcome.gradient_equivalents)


@pytest.fixture
def whole(tiny_table):
    return tiny_table


def test_every_cell_is_measured(whole):
    found = {(o.recipe, o.accounting): o for o in collect(whole)}
    assert set(found) == {("adam", "cost"), ("golden-30", "cost"), ("golden-30", "printed"), ("lbfgs", "cost")}
    printed, cost = found["golden-30", "printed"], found["golden-30", "cost"]
    assert printed.epochs == 10
    assert cost.epochs < 10
    assert printed.gradient_equivalents > cost.gradient_equivalents >= 10 * (1 - 1e-9)  # a sum of thirds
    assert printed.train_loss <= cost.train_loss
    assert {o.swap_epoch for o in found.values()} == {None, 3}
    assert all(o.overdetermination == pytest.approx(96 * 10 / o.parameters) for o in found.values())


def test_a_finished_cell_is_never_run_again(whole):
    files = {path: path.stat().st_mtime_ns for path in whole.rglob("*.p*") if path.is_file()}
    said = []
    assert run_cells(some("golden-30", "lbfgs"), Machine(), whole, accountings=("cost", "printed"), say=said.append) == []
    assert said == ["3 of 3 cells are finished, 0 to run"]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_the_printed_accounting_goes_on_from_the_equal_cost(whole, tmp_path):
    (cell,) = some("adam")
    golden = some("golden-30")[1]
    run_cell(cell, Machine(), tmp_path)
    first = run_cell(golden, Machine(), tmp_path)
    assert missing(golden, tmp_path, ("cost", "printed")) == ["printed"]
    both = run_cell(golden, Machine(), tmp_path, ("cost", "printed"))
    assert both[0] == first[0]
    assert [key(o) for o in both] == [key(o) for o in collect(whole) if o.recipe == "golden-30"]


def test_workers_give_what_one_process_gives(whole, tmp_path):
    failed = run_cells(some("golden-30"), Machine(), tmp_path, workers=2, say=lambda line: None)
    assert failed == []
    expected = [key(o) for o in collect(whole) if o.accounting == "cost" and o.recipe != "lbfgs"]
    assert [key(o) for o in collect(tmp_path)] == expected


def test_a_table_survives_a_kill(whole, tmp_path):
    code = f"""
from pathlib import Path
from homestretch.paper.table.cells import Machine, cells
from homestretch.paper.table.workers import run_cells
todo = cells(["digits"], ["{MODEL}"], ["golden-30", "lbfgs"], [0], "tiny")
run_cells(todo, Machine(), Path({str(tmp_path)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    adam, golden = some("golden-30")
    try:
        while not read_outcomes(tmp_path / adam.path) or not (tmp_path / golden.path / "record.jsonl").exists():
            assert process.poll() is None or read_outcomes(tmp_path / golden.path)
            time.sleep(0.01)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = (tmp_path / adam.path / OUTCOMES).read_bytes()
    assert run_cells(some("golden-30", "lbfgs"), Machine(), tmp_path, say=lambda line: None) == []
    assert (tmp_path / adam.path / OUTCOMES).read_bytes() == kept
    assert [key(o) for o in collect(tmp_path)] == [key(o) for o in collect(whole) if o.accounting == "cost"]


def test_one_bad_cell_does_not_end_the_table(tmp_path):
    good, other = some("golden-30")
    (tmp_path / other.path).mkdir(parents=True)
    (tmp_path / other.path / "settings.json").write_text("{}")
    said = []
    assert run_cells([other, good], Machine(), tmp_path, say=said.append) == [other]
    assert any("FAILED" in line and "other settings" in line for line in said)
    assert len(collect(tmp_path)) == 1


def test_a_cell_whose_process_died_between_two_accountings_has_failed(whole, tmp_path):
    """It passed for finished, and the command ended without an error."""
    golden = some("golden-30")[1]
    shutil.copytree(whole / golden.path, tmp_path / golden.path)
    both = read_outcomes(tmp_path / golden.path)
    said = []
    assert workers._tell(golden, tmp_path, ("cost", "printed"), 1.0, said.append)
    assert len(said) == 2
    write_outcomes(tmp_path / golden.path, both[:1])
    assert not workers._tell(golden, tmp_path, ("cost", "printed"), 1.0, said.append)
    assert "FAILED, its process ended without a result" in said[-1]


def test_other_settings_and_damage_are_refused(tmp_path):
    (cell,) = some("adam")
    (tmp_path / cell.path).mkdir(parents=True)
    (tmp_path / cell.path / OUTCOMES).write_text("[{}]")
    with pytest.raises(CheckpointError, match="damaged"):
        run_cell(cell, Machine(), tmp_path)


def test_workers_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="workers"):
        run_cells([], Machine(), tmp_path, workers=0)
