"""What came of a cell, and where it is kept: one small JSON file a cell, one Parquet and one TSV for the whole table."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from homestretch.errors import CheckpointError

__all__ = [
    "OUTCOMES",
    "Accounting",
    "Outcome",
    "collect",
    "read_outcomes",
    "read_table",
    "write_json",
    "write_outcomes",
    "write_table",
]

OUTCOMES = "outcomes.json"
Accounting = Literal["cost", "printed"]
"""At equal counted cost, or at equal epochs, where an iteration of the convex phase is one: the paper's accounting."""


@dataclass(frozen=True)
class Outcome:
    """One run, measured where its accounting ends.

    Attributes:
        set: The data.
        model: The model.
        recipe: Name of the recipe.
        seed: Seed.
        size: Name of the size.
        accounting: Where the run was measured: at equal counted ``"cost"``, or at equal epochs as ``"printed"``.
        train_loss: Loss over the training data.
        train_accuracy: Share of training samples classified correctly.
        validation_loss: Loss over the validation data.
        validation_accuracy: Share of validation samples classified correctly.
        validation_top5: Share of validation samples with the right class among the five best; ``None`` with few classes.
        parameters: P, the number of trainable parameters.
        overdetermination: Q = K M / P at this size.
        budget: Gradient-equivalents allowed, Adam's epochs.
        gradient_equivalents: Gradient-equivalents spent.
        evaluations: Evaluations of the loss, each of whatever part of the data.
        seconds: Wall time, that of the epochs shared with Adam included.
        epochs: Epochs made.
        swap_epoch: The epoch after which the convex phase began, ``None`` if it did not.
        returns: How often it went back to the first phase.
        reason: Why it swapped then, and why it went back.
        stop: Why the run ended.
        device: Where it ran.
        version: Version of homestretch and of torch.
    """

    set: str
    model: str
    recipe: str
    seed: int
    size: str
    accounting: str
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_top5: float | None
    parameters: int
    overdetermination: float
    budget: float
    gradient_equivalents: float
    evaluations: int
    seconds: float
    epochs: int
    swap_epoch: int | None
    returns: int
    reason: str
    stop: str
    device: str
    version: str

    @property
    def problem(self) -> str:
        """Set and model."""
        return f"{self.set}/{self.model}"


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Keep the outcomes of one cell."""
    write_json(folder / OUTCOMES, [asdict(outcome) for outcome in outcomes])


def write_json(place: Path, content: Any) -> None:
    """Write a small JSON file in one move, so that a kill leaves the old file or the new one."""
    aside = place.with_name(f"{place.name}.writing")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, place)


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes of the cell in ``folder``, none where it is not finished.

    Raises:
        CheckpointError: If the file is damaged.
    """
    place = folder / OUTCOMES
    if not place.exists():
        return []
    try:
        return [Outcome(**row) for row in json.loads(place.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{place} is damaged ({error}): delete it and repeat the command") from error


def collect(out: Path) -> list[Outcome]:
    """All outcomes below ``out``, in order of their folders."""
    return [outcome for place in sorted(out.glob(f"*/*/seed-*/*/{OUTCOMES}")) for outcome in read_outcomes(place.parent)]


def write_table(outcomes: Sequence[Outcome], folder: Path, name: str) -> list[Path]:
    """Write all outcomes into ``NAME.parquet`` and ``NAME.tsv``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    parquet, tsv = folder / f"{name}.parquet", folder / f"{name}.tsv"
    names = [f.name for f in fields(Outcome)]
    rows = [asdict(outcome) for outcome in outcomes]
    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    hints = get_type_hints(Outcome)
    schema = pa.schema([(n, types.get(hints[n], pa.int64() if n == "swap_epoch" else pa.float64())) for n in names])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), parquet)
    with tsv.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return [parquet, tsv]


def read_table(path: Path) -> list[Outcome]:
    """What :func:`write_table` wrote into a Parquet file.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: Iterable[dict] = pq.read_table(path).to_pylist()
        return [Outcome(**row) for row in rows]
    except (OSError, TypeError, pa.ArrowInvalid) as error:
        reason = error if path.exists() else "no such file"
        raise CheckpointError(
            f"{path} holds no table of outcomes ({reason}): run `homestretch paper table` and name its table.parquet "
            "by --results"
        ) from error
