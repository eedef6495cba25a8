"""Error and loss against time and against counted cost, a picture for every problem."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.sciml.reading import Traces, median_curve

WHAT = ("error", "loss")
COLUMNS = {"cpu_seconds": "processor time after the warm-up, s", "gradient_equivalents": "gradient-equivalents"}


def draw(traces: Traces, problem: str, path: Path, target: float | None) -> None:
    """Draw the medians over seeds of every method's error and loss on a problem to a PNG file.

    Args:
        traces: all traces.
        problem: the problem.
        path: the file.
        target: an error to mark by a line.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys(method for name, method, _ in traces if name == problem))
    figure, panels = plt.subplots(2, 2, figsize=(11, 7.6), layout="constrained", sharey="row", sharex="col")
    colours, styles = plt.get_cmap("tab10"), cycle(("-", "--", ":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1))))
    for number, method in enumerate(methods):
        runs = [trace for (name, m, _), trace in traces.items() if name == problem and m == method]
        style: dict[str, Any] = {"color": colours(number % 10), "linewidth": 1.2}
        if method.startswith("homestretch"):
            style = {"color": "black", "linewidth": 2.2 if method.endswith("auto") else 1.2, "linestyle": next(styles)}
        for row, what in zip(panels, WHAT, strict=True):
            for axes, column in zip(row, COLUMNS, strict=True):
                axes.loglog(*median_curve(runs, column, what), label=method, **style)
    for row, what in zip(panels, WHAT, strict=True):
        row[0].set_ylabel(f"{what} on {problem}, median")
        for axes in row:
            axes.grid(alpha=0.3)
            if what == "error" and target is not None:
                axes.axhline(target, color="grey", linewidth=0.8, linestyle=(0, (6, 4)))
    for axes, label in zip(panels[1], COLUMNS.values(), strict=True):
        axes.set_xlabel(label)
    panels[0, 1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
