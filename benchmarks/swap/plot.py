"""The regret of each method, a dot a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw the regrets of every method to a PNG file, problems in colours, medians as bars.

    Args:
        rows: the table.
        path: the file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys(row["method"] for row in rows))
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    colours = plt.get_cmap("tab10")
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for number, problem in enumerate(problems):
        mine = [row for row in rows if row["problem"] == problem]
        places = [methods.index(row["method"]) + (number - (len(problems) - 1) / 2) * 0.1 for row in mine]
        regrets = [float(row["regret"]) for row in mine]
        axes.plot(places, regrets, "o", color=colours(number % 10), ms=4, alpha=0.7, label=problem)
    for place, method in enumerate(methods):
        middle = median(float(row["regret"]) for row in rows if row["method"] == method)
        axes.plot([place - 0.4, place + 0.4], [middle, middle], color="black", linewidth=2)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=0.5)
    axes.set_xticks(np.arange(len(methods)), methods, rotation=45, ha="right")
    axes.set_ylabel("regret: log10 of the final loss over the best fixed swap's")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)
