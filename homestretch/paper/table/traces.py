"""The course of every run of a table, epoch by epoch, in one small Parquet file: what figures 5 and 6 are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homestretch.errors import CheckpointError
from homestretch.history import EpochRecord, EventRecord, History
from homestretch.paper.table.outcome import OUTCOMES, read_outcomes
from homestretch.training import RECORD

__all__ = ["Key", "read_histories", "read_traces", "write_traces"]

Key = tuple[str, str, int, str]
"""Set, model, seed and recipe."""
_FIELDS = ("epoch", "phase", "loss", "gradient_norm", "gradient_norm_kind", "gradient_equivalents", "seconds")


def read_histories(out: Path) -> dict[Key, History]:
    """The records of all finished cells below ``out``."""
    found = {}
    for place in sorted(out.glob(f"*/*/seed-*/*/{OUTCOMES}")):
        for outcome in read_outcomes(place.parent)[:1]:
            found[outcome.set, outcome.model, outcome.seed, outcome.recipe] = History.read(place.parent / RECORD)
    return found


def write_traces(histories: Mapping[Key, History], path: Path) -> Path:
    """Write the epochs of all runs, with a mark at those after which a run swapped or went back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for (data, model, seed, recipe), history in histories.items():
        events = {e.epoch: e.name for e in history.of(EventRecord) if e.name in ("swap", "resort")}
        cell = {"set": data, "model": model, "seed": seed, "recipe": recipe}
        rows += [
            {**cell, **{f: getattr(record, f) for f in _FIELDS}, "event": events.get(record.epoch, "")}
            for record in history.of(EpochRecord)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return path


def read_traces(path: Path) -> dict[Key, History]:
    """What :func:`write_traces` wrote: epochs, swaps and returns; iterations and decisions are not kept.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        reason = error if path.exists() else "no such file"
        raise CheckpointError(
            f"{path} holds no traces ({reason}): run `homestretch paper table` and name its folder or its table-epochs.parquet"
        ) from error
    found: dict[Key, History] = {}
    for row in rows:
        history = found.setdefault((row["set"], row["model"], row["seed"], row["recipe"]), History())
        history.append(EpochRecord(**{name: row[name] for name in _FIELDS}))
        if row["event"]:
            history.append(EventRecord(epoch=row["epoch"], name=row["event"], message=""))
    return found
