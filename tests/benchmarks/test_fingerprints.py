"""What a fingerprint leaves out does not decide how a run goes: cached runs of another engine would be taken for this one's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import homestretch
from benchmarks import bench_rules, bench_swap
from benchmarks.sciml import ours

PACKAGE = Path(homestretch.__file__).parent
BESIDE = {"__init__", "arguments", "checkpoint", "device_memory", "errors", "history", "packing", "pickling", "plain"}
"""Modules that check, describe or keep what was done, and decide nothing."""


def module(name):
    """The file of a module of the package, ``None`` if there is no such module."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)


def imported(file):
    """The files of the package that one of them imports, at its head or later; not those for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]:
        node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "homestretch":
            yield from (module(f"{node.module}.{alias.name}") or module(node.module) for alias in node.names)


def files(names):
    """The files of an engine."""
    return {
        file for name in names for file in ((PACKAGE / name).rglob("*.py") if (PACKAGE / name).is_dir() else [PACKAGE / name])
    }


def reached(start):
    """The files that these come to import, themselves among them."""
    seen, todo = set(), list(start)
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imported(file)
    return seen


@pytest.mark.parametrize("engine", [ours.ENGINE, bench_swap.ENGINE], ids=["sciml", "swap"])
def test_an_engine_has_all_files_that_it_comes_to_import(engine):
    known = files(engine)
    left_out = {file.relative_to(PACKAGE).with_suffix("").as_posix() for file in reached(known) - known}
    assert left_out <= BESIDE


def test_the_first_phase_of_the_rules_has_what_its_epochs_run():
    run = {"paper/models/build.py", "objective/dataset.py", "objective/batches.py", "two_phase/optimizer.py", "cost.py"}
    assert {PACKAGE / name for name in run} <= files(bench_rules.ENGINE)
