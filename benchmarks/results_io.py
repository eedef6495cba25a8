"""Results of the benchmarks: runs cached one by one, tidy tables, and the machine they were made on.

Every benchmark does the same three things: `Cache.run` each run (a finished one is not run again, so a benchmark that
was interrupted goes on where it was), `write_table` its rows to `benchmarks/results/NAME.tsv` and `write_environment`
beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
CACHE = ROOT / "cache"

COLUMNS = (
    "problem",
    "size",
    "seed",
    "library",
    "method",
    "loss",
    "error",
    "gradient_equivalents",
    "evaluations",
    "seconds",
    "status",
)
"""The columns every benchmark's table begins with."""

Record = dict[str, Any]


def parser(module: str | None, quick: str | None = "the reduced set") -> argparse.ArgumentParser:
    """Return the flags that benchmarks share: `--quick`, where there is such a set, and `--report`.

    Args:
        module: the benchmark's docstring; its first line heads the help.
        quick: what the quick set is; None for no such flag.
    """
    made = argparse.ArgumentParser(description=module.splitlines()[0] if module else None)
    if quick is not None:
        made.add_argument("--quick", action="store_true", default=is_quick(), help=f"{quick} (also QUICK=1)")
    made.add_argument("--report", action="store_true", help="make the docs page from the table, run nothing")
    return made


def is_quick() -> bool:
    """Say whether the environment asks for the reduced run: `QUICK=1`."""
    return os.environ.get("QUICK", "") not in ("", "0")


class Cache:
    """Finished runs by key, one JSON line each, in `benchmarks/cache/NAME.jsonl`.

    The file is only ever appended to, one line a write, so runs survive whatever ends the program, and two programs may
    share it. A line cut short is ignored: each line begins on a fresh one. Where a key appears twice the later line counts.

    Args:
        name: the benchmark's name.
        folder: where the file lies.
    """

    def __init__(self, name: str, folder: Path = CACHE) -> None:
        self.path = folder / f"{name}.jsonl"
        self._records: dict[str, Record] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._records[entry["key"]] = entry["record"]

    def __len__(self) -> int:
        return len(self._records)

    @staticmethod
    def key(fields: Mapping[str, Any]) -> str:
        """Return the fields as one string, whatever their order."""
        return json.dumps(fields, sort_keys=True)

    def __contains__(self, fields: Mapping[str, Any]) -> bool:
        return self.key(fields) in self._records

    def run(self, fields: Mapping[str, Any], compute: Callable[[], Record]) -> Record:
        """Return the record of the run that `fields` identify, computing and keeping it if there is none.

        Whatever changes the result belongs in `fields`: the problem, its size and seed, the method, the budget and the
        version of the code (`version` of a library, `fingerprint` of our own).
        """
        key = self.key(fields)
        if key not in self._records:
            record = compute()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write("\n" + json.dumps({"key": key, "record": record}) + "\n")
            self._records[key] = record
        return self._records[key]


def fingerprint(*paths: Path) -> str:
    """Return twelve digits that change whenever one of these Python files, or one in these folders, does."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(path.parent).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.10g}"
    return " ".join(str(value).split())


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Write the rows, in the order given, as tab-separated values; None is an empty cell, a bool 0 or 1.

    The file is replaced in one move, so that it is never seen half written.
    """
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(column)) for column in columns) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(path)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read what `write_table` wrote; every cell is text."""
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there: run the benchmark that makes it first")
    header, *lines = path.read_text().splitlines()
    columns = header.split("\t")
    return [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def known_processor(table: Path) -> str:
    """Return the processor that a table's environment names: that of the last run, and of rows that name none themselves."""
    path = table.with_suffix(".env.json")
    return str(json.loads(path.read_text())["processor"]) if path.exists() else ""


def environment(libraries: Iterable[str]) -> dict[str, Any]:
    """Return the versions and the processor that results depend on.

    Args:
        libraries: distributions to name besides torch and numpy; one that is not installed is given as "absent".
    """
    versions = {}
    for library in sorted({*libraries, "torch", "numpy"}):
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "absent"
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }


def write_environment(table: Path, libraries: Iterable[str], **more: Any) -> None:
    """Write `NAME.env.json` beside the table `NAME.tsv`: `environment(libraries)` and whatever else is given."""
    path = table.with_suffix(".env.json")
    path.write_text(json.dumps({**environment(libraries), **more}, indent=2, sort_keys=True) + "\n")


def table_path(name: str, quick: bool = False) -> Path:
    """Return `benchmarks/results/NAME.tsv`, or `NAME-quick.tsv`."""
    return RESULTS / f"{name}{'-quick' if quick else ''}.tsv"
