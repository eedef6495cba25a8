"""Reading traces: what a run had to show at a given time or cost, and when it had reached an error."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.sciml.trace import Sample

Key = tuple[str, str, int]
"""Problem, `library/method`, seed."""
Traces = dict[Key, list[Sample]]


def read_traces(path: Path) -> Traces:
    """Read what the benchmark wrote beside its table."""
    import pyarrow.parquet as pq

    traces: Traces = defaultdict(list)
    for line in pq.read_table(path).to_pylist():
        key = (line["problem"], f"{line['library']}/{line['method']}", line["seed"])
        traces[key].append(Sample(**{name: line[name] for name in Sample._fields}))
    return traces


def running(trace: Iterable[Sample], of: str, what: str = "error") -> list[tuple[float, float]]:
    """Return pairs of a column (`cpu_seconds`, ...) and the error of the point that would be kept by then, or the loss."""
    if what == "loss":
        return [(getattr(sample, of), sample.loss) for sample in trace]
    pairs, lowest, error = [], math.inf, math.nan
    for sample in trace:
        if sample.held_out < lowest or math.isnan(error):
            lowest, error = min(sample.held_out, lowest), sample.error
        pairs.append((getattr(sample, of), error))
    return pairs


def error_at(trace: Iterable[Sample], value: float, of: str = "cpu_seconds") -> float:
    """Return the error of the point kept when a column had reached a value; NaN before the first sample."""
    return next((error for x, error in reversed(running(trace, of)) if x <= value), math.nan)


def reached(trace: Iterable[Sample], target: float, of: str = "cpu_seconds") -> float:
    """Return where a column stood when the kept point's error first was at most the target; infinite if it never was."""
    return next((x for x, error in running(trace, of) if error <= target), math.inf)


def at_iteration(trace: Iterable[Sample], iterations: int, of: str = "cpu_seconds") -> float:
    """Return where a column stood at an iteration, between samples by interpolation; the last value if it never came."""
    samples = list(trace)
    steps = [s.iterations for s in samples]
    return float(np.interp(iterations, steps, [getattr(s, of) for s in samples]))


def median_curve(
    traces: Sequence[Sequence[Sample]], of: str, what: str = "error", points: int = 80
) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of a column and the median over runs of the kept point's error, or the loss, from where all have one."""
    pairs = [np.array(running(trace, of, what)) for trace in traces]
    low = max(p[0, 0] for p in pairs)
    high = median(p[-1, 0] for p in pairs)
    grid = np.geomspace(max(low, 1e-3), max(high, low, 2e-3), points)
    rows = [p[np.clip(np.searchsorted(p[:, 0], grid, side="right") - 1, 0, None), 1] for p in pairs]
    return grid, np.median(rows, axis=0)
