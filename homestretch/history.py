"""What happened in a run: typed records, appended to a JSONL file while it runs and kept as Parquet at its end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from homestretch import plain
from homestretch.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: a sweep over the mini-batches before the swap, one iteration on the whole objective after it.

    Attributes:
        epoch: Number of the epoch, from 1.
        phase: ``"first"`` or ``"second"``.
        loss: Mean of the mini-batch losses (first phase) or the accepted loss (second phase).
        gradient_norm: Euclidean norm of the gradient, measured as ``gradient_norm_kind`` says.
        gradient_norm_kind: ``"running-mean"``, ``"probe"``, ``"exact"`` or ``"given"``.
        gradient_equivalents: Counted cost of the run so far.
        seconds: Wall time of the run so far.
        metrics: Anything else that was measured: validation loss, accuracies, learning rate.
    """

    kind: ClassVar[str] = "epoch"
    epoch: int
    phase: str
    loss: float
    gradient_norm: float
    gradient_norm_kind: str
    gradient_equivalents: float
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class IterationRecord:
    """One iteration of a convex-phase method.

    Attributes:
        iteration: Number of the iteration, from 1.
        loss: Loss after it.
        gradient_norm: Euclidean norm of the gradient after it.
        step: Accepted step along the direction (0 if none was).
        first_step: First step that the search tried.
        slope: Directional derivative at the start, negative.
        cosine: Cosine of the angle between the direction and the negative gradient, 1 for steepest descent.
        beta: The conjugate-gradient factor, NaN for methods without one.
        forwards: Forward evaluations in this iteration.
        gradients: Forward and backward evaluations in this iteration.
        search_status: How the search ended.
        restart: Why the direction was restarted; empty if it was not.
        stop: Why the method stopped here; empty while it goes on.
        gradient_equivalents: Counted cost so far.
        seconds: Wall time of this iteration.
        changed: Why the point was evaluated anew before it (the function changed, parameters were changed by others), and what
            became of the curvature known by then; empty if nothing had changed.
        extra: What only this method knows: damping, gain ratio, radius, inner iterations, the loss of each term.
    """

    kind: ClassVar[str] = "iteration"
    iteration: int
    loss: float
    gradient_norm: float
    step: float
    first_step: float
    slope: float
    cosine: float
    beta: float
    forwards: int
    gradients: int
    search_status: str
    restart: str
    stop: str
    gradient_equivalents: float
    seconds: float
    changed: str = ""
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    """What a swap rule or the safe resort decided after an epoch, and why.

    Attributes:
        epoch: Number of the epoch.
        swap: Whether to change over: to the convex phase by a rule, back to the first phase by the resort.
        rule: Name of the rule or of the resort.
        reason: Why, in a sentence.
        values: The numbers behind it, by name.
    """

    kind: ClassVar[str] = "decision"
    epoch: int
    swap: bool
    rule: str
    reason: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Something that happened once: the swap, a return to the first phase, a look at the curvature, a stop.

    Attributes:
        epoch: The epoch after which it happened; 0 before the first.
        name: ``"swap"``, ``"resort"`` (back to the first phase), ``"race"``, ``"evidence"`` (the look at the curvature before
            a swap), ``"growth"`` (of the data), ``"stop"`` (of the convex phase) or ``"restored"`` (the best point is).
        message: What came of it and why.
        values: The numbers behind it, by name.
    """

    kind: ClassVar[str] = "event"
    epoch: int
    name: str
    message: str
    values: dict[str, float] = field(default_factory=dict)


Record = EpochRecord | IterationRecord | DecisionRecord | EventRecord
R = TypeVar("R", EpochRecord, IterationRecord, DecisionRecord, EventRecord)
_NESTED = ("metrics", "values", "extra")  # numbers by name
_KINDS: dict[str, type[Record]] = {r.kind: r for r in (EpochRecord, IterationRecord, DecisionRecord, EventRecord)}


class History(Sequence[Record]):
    """The records of one run, in order.

    Args:
        path: A JSONL file that every record is appended to at once; ``None`` keeps them in memory only, as deep copies do.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._records: list[Record] = []
        self._path = Path(path) if path is not None else None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text("")

    def __deepcopy__(self, memo: dict[int, Any]) -> History:
        """The same records in memory only: lines of two runs in one file would be read as one run's."""
        copied = History()
        copied._records = list(self._records)
        return copied

    def append(self, record: Record) -> None:
        """Add a record, its numbers as Python's, and a line to the file if there is one.

        Raises:
            TypeError: If a loss, gradient norm, metric or other value is not a number.
        """
        record = _plain(record)
        self._records.append(record)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(to_line(record) + "\n")

    def of(self, kind: type[R]) -> list[R]:
        """All records of one type, in order."""
        return [r for r in self._records if isinstance(r, kind)]

    def last(self, kind: type[R]) -> tuple[int, R]:
        """Position and record of the last one of a type.

        Raises:
            LookupError: If there is none.
        """
        for index in range(len(self._records) - 1, -1, -1):
            record = self._records[index]
            if isinstance(record, kind):
                return index, record
        raise LookupError(f"the history holds no {kind.kind} record")

    def rewind(self, count: int) -> None:
        """Keep the first ``count`` records: a resumed run forgets what came after its checkpoint.

        A file is written aside and put in place whole, so that neither a kill nor a full disk costs what it holds.
        """
        del self._records[count:]
        if self._path is None:
            return
        text = "".join(to_line(r) + "\n" for r in self._records)
        if self._path.exists() and self._path.read_bytes() == text.encode():
            return
        aside = self._path.with_name(f"{self._path.name}.writing")
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, self._path)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> History:
        """Read a JSONL file. A last line cut off by a kill is left out.

        Raises:
            CheckpointError: If the file cannot be read or a line is not one of our records.
        """
        history = cls()
        try:
            lines = Path(path).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"cannot read the record {path}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                history._records.append(from_line(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                if number == len(lines):
                    break
                raise CheckpointError(f"{path}, line {number} is not a homestretch record: {error}") from error
        return history

    def continue_at(self, path: str | os.PathLike[str]) -> None:
        """Append to ``path`` from now on, after writing there what is known already."""
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.rewind(len(self))

    def rows(self, kind: type[R]) -> list[dict[str, Any]]:
        """Records of one type as flat rows; what is in ``metrics``, ``values`` or ``extra`` becomes columns.

        A column that would hide one of the record's own gets the name of where it was before it: ``values.epoch``.
        """
        return [_flat(record) for record in self.of(kind)]

    def to_parquet(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write one Parquet file a record type into ``folder``, which is made if need be, and return their paths."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        Path(folder).mkdir(parents=True, exist_ok=True)
        written = []
        for name, kind in _KINDS.items():
            rows = self.rows(kind)  # type: ignore[type-var]
            if not rows:
                continue
            names = dict.fromkeys(key for row in rows for key in row)
            table = pa.table({key: [row.get(key) for row in rows] for key in names})
            written.append(Path(folder) / f"{name}.parquet")
            pq.write_table(table, written[-1])
        return written


def _plain(record: Record) -> Record:
    """The record with Python's numbers in place of what others measured."""
    given = vars(record)
    found: dict[str, Any] = {k: plain.numbers(k, given[k]) for k in _NESTED if k in given}
    found |= {k: plain.number(k, given[k]) for k in ("loss", "gradient_norm") if k in given}
    changes = {name: value for name, value in found.items() if value is not given[name]}
    return replace(record, **changes) if changes else record


def to_line(record: Record) -> str:
    """A record as one line of JSON; numbers that are not finite are written as JSON5 does (NaN, Infinity)."""
    return json.dumps({"kind": record.kind, **asdict(record)})


def _flat(record: Record) -> dict[str, Any]:
    row = asdict(record)
    for nested in _NESTED:
        for key, value in row.pop(nested, {}).items():
            row[f"{nested}.{key}" if key in row else key] = value
    return row


def from_line(line: str) -> Record:
    """The record that :func:`to_line` wrote."""
    row = json.loads(line)
    record = _KINDS[row.pop("kind")]
    known = {f.name for f in fields(record)}
    return record(**{key: value for key, value in row.items() if key in known})
