"""The folder of a run: its settings, its result, and whether it can go on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from homestretch import checkpoint
from homestretch.errors import CheckpointError
from homestretch.paper.settings import Plan, Problem, Recipe
from homestretch.report import Row
from homestretch.training import RECORD

SETTINGS, RESULT, SUMMARY, FIGURES = "settings.json", "result.json", "summary.md", "figures"
_OWN = (
    RESULT,
    checkpoint.NAME,
    checkpoint.PREVIOUS,
    RECORD,
    *(f"{k}.parquet" for k in ("epoch", "iteration", "decision", "event")),
)
State = Literal["new", "unfinished", "finished", "other"]
T = TypeVar("T", Problem, Recipe, Row)


def check_out(folder: Path) -> None:
    """Refuse at the door an ``--out`` that no folder can be made of; nothing is made yet.

    Raises:
        ValueError: If a file is in the way, or the place may not be written to.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if not nearest.is_dir():
        raise ValueError(f"--out must be a folder, got {folder}, but {nearest} is a file: give another --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"--out must be a folder to write to, got {folder}, but {nearest} is protected: give another --out")


def begin(folder: Path, plan: Plan) -> None:
    """Make ``folder`` that of a new run: an earlier run's files go, other files stay.

    Raises:
        ValueError: If there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out must be a folder that can be made, got {folder} ({error.strerror}): give another") from error
    for name in _OWN:
        (folder / name).unlink(missing_ok=True)
    for figure in (folder / FIGURES).glob("*.*"):
        figure.unlink()
    _write(folder / SETTINGS, asdict(plan))


def read_plan(folder: Path) -> Plan:
    """The settings of the run in ``folder``.

    Raises:
        CheckpointError: If they are missing or damaged.
    """
    place = folder / SETTINGS
    if not place.exists() and (runs := sorted(run.parent.name for run in folder.glob(f"*/{SETTINGS}"))):
        raise CheckpointError(f"{folder} holds the folders of several runs ({', '.join(runs)}): name one of them")
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        problem = dict(content["problem"])
        problem["data_dir"] = Path(problem["data_dir"]) if problem["data_dir"] else None
        return Plan(_build(Problem, problem), _build(Recipe, content["recipe"]), float(content["budget"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{place} does not hold the settings of a run ({_brief(error)}): name a folder that `homestretch run` "
            "wrote; what fit() wrote goes on in Python, by the same call with resume=True"
        ) from error


@contextmanager
def raised_budget(folder: Path, plan: Plan, budget: float) -> Iterator[Plan]:
    """Plan the run in ``folder`` for a larger budget; its outcome, if it has one, is no longer the last word.

    Where what is done with the new plan fails before the run has gone on, settings and outcome are put back as they were, so
    that the same command can be given again once its cause is mended.

    Raises:
        ValueError: If the budget is not larger, or a schedule was laid out over the old one.
    """
    _check_larger(folder, plan, budget)
    before = {name: (folder / name).read_bytes() for name in (SETTINGS, RESULT) if (folder / name).exists()}
    reached = _reached(folder)
    larger = replace(plan, budget=float(budget))
    _write(folder / SETTINGS, asdict(larger))
    (folder / RESULT).unlink(missing_ok=True)
    try:
        yield larger
    except Exception:
        # A run that has gone on is past its old outcome. And an interruption is no failure: the run is resumed as planned.
        if _reached(folder) == reached:
            for name, content in before.items():
                (folder / name).write_bytes(content)
        raise


def write_result(folder: Path, row: Row) -> None:
    """Keep a run's outcome: from now on it is finished."""
    _write(folder / RESULT, asdict(row))


def read_result(folder: Path) -> Row:
    """The outcome of the finished run in ``folder``.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    place = folder / RESULT
    try:
        return _build(Row, json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{place} is missing or damaged ({_brief(error)}): delete it and repeat the command") from error


def state_of(folder: Path, plan: Plan) -> State:
    """How far the run of ``plan`` in ``folder`` is; ``"other"`` if the folder holds something else."""
    if not (folder / SETTINGS).exists():
        return "other" if holds_run(folder) else "new"
    try:
        same = read_plan(folder) == plan
    except CheckpointError:
        return "other"
    finished = (folder / RESULT).exists()
    if not finished and not checkpoint.present(folder):
        return "new"
    return "other" if not same else "finished" if finished else "unfinished"


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` itself is that of a run, of the command line's or of the library's."""
    return checkpoint.present(folder) or any((folder / name).exists() for name in (SETTINGS, RECORD))


def holds_comparison(folder: Path) -> bool:
    """Whether ``folder`` has a summary of runs that lie one level below it."""
    return (folder / SUMMARY).exists() and any(folder.glob(f"*/{SETTINGS}"))


def _check_larger(folder: Path, plan: Plan, budget: float) -> None:
    if not (math.isfinite(budget) and budget > plan.budget):
        raise ValueError(
            f"budget must be more than {plan.budget:g}, that of the run in {folder} up to now, got {budget:g}: give a larger "
            f"one, or none to go on up to {plan.budget:g}"
        )
    if plan.recipe.schedule != "constant":
        raise ValueError(
            f"the {plan.recipe.schedule} schedule of the run in {folder} ends at its budget of {plan.budget:g}: "
            "a run with a larger one is another run, train it anew"
        )


def _reached(folder: Path) -> tuple[int, ...]:
    """Tells one checkpoint from the next, without reading it: a damaged one is told too."""
    place = folder / checkpoint.NAME
    if not place.exists():
        return ()
    known = place.stat()
    return known.st_ino, known.st_mtime_ns, known.st_size


def _write(place: Path, content: dict[str, Any]) -> None:
    place.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def _build(kind: type[T], content: dict[str, Any]) -> T:
    """An instance from what JSON gave, every choice checked."""
    hints = get_type_hints(kind)
    if unknown := set(content) ^ {f.name for f in fields(kind)}:
        raise ValueError(f"entries missing or unknown: {', '.join(sorted(unknown))}")
    for name, value in content.items():
        hint = hints[name]
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise ValueError(f"{name} must be one of {', '.join(get_args(hint))}, got {value!r}")
        elif not isinstance(value, _types(hint)) or (hint is int and isinstance(value, bool)):
            raise ValueError(f"{name} must be of type {getattr(hint, '__name__', hint)}, got {value!r}")
        elif isinstance(value, float) and not math.isfinite(value) and kind is not Row:
            raise ValueError(f"{name} must be finite, got {value}")
    return kind(**content)


def _types(hint: Any) -> tuple[type, ...]:
    types = get_args(hint) or (hint,)
    return (*types, int) if float in types else types


def _brief(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
