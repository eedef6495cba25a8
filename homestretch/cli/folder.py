"""The folder of a run: its settings, its result, and whether it can go on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from homestretch import checkpoint
from homestretch.errors import CheckpointError
from homestretch.paper.settings import Plan, Problem, Recipe
from homestretch.report import Row
from homestretch.training import RECORD

SETTINGS, RESULT, FIGURES = "settings.json", "result.json", "figures"
_OWN = (
    RESULT,
    checkpoint.NAME,
    checkpoint.PREVIOUS,
    RECORD,
    *(f"{k}.parquet" for k in ("epoch", "iteration", "decision", "event")),
)
State = Literal["new", "unfinished", "finished", "other"]
T = TypeVar("T", Problem, Recipe, Row)


def begin(folder: Path, plan: Plan) -> None:
    """Make ``folder`` that of a new run: an earlier run's files go, other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
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
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        problem = dict(content["problem"])
        problem["data_dir"] = Path(problem["data_dir"]) if problem["data_dir"] else None
        return Plan(_build(Problem, problem), _build(Recipe, content["recipe"]), float(content["budget"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{place} does not hold the settings of a run ({_brief(error)}): name a folder that homestretch wrote"
        ) from error


def raise_budget(folder: Path, plan: Plan, budget: float) -> Plan:
    """Plan the run in ``folder`` for a larger budget; its outcome, if it has one, is no longer the last word.

    Raises:
        ValueError: If the budget is not larger, or a schedule was laid out over the old one.
    """
    if not (math.isfinite(budget) and budget > plan.budget):
        raise ValueError(f"budget must be more than {plan.budget:g}, that of the run in {folder} up to now, got {budget:g}")
    if plan.recipe.schedule != "constant":
        raise ValueError(
            f"the {plan.recipe.schedule} schedule of the run in {folder} ends at its budget of {plan.budget:g}: "
            "a run with a larger one is another run, train it anew"
        )
    larger = replace(plan, budget=float(budget))
    _write(folder / SETTINGS, asdict(larger))
    (folder / RESULT).unlink(missing_ok=True)
    return larger


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
        return "other" if checkpoint.present(folder) or (folder / RECORD).exists() else "new"
    try:
        same = read_plan(folder) == plan
    except CheckpointError:
        return "other"
    finished = (folder / RESULT).exists()
    if not finished and not checkpoint.present(folder):
        return "new"
    return "other" if not same else "finished" if finished else "unfinished"


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
