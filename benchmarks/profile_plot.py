"""Performance profiles (Dolan and More, "Benchmarking optimization software with performance profiles", 2002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

Costs = Mapping[str, Mapping[str, float]]
"""Cost to solve by solver and problem; a problem that a solver has not solved is missing."""


def ratios(costs: Costs, problems: Sequence[str]) -> dict[str, np.ndarray]:
    """Return each solver's cost over the cheapest solver's, problem by problem; infinite where it has not solved it.

    Args:
        costs: cost by solver and problem.
        problems: the problems counted; one that no solver has solved is infinite for all.
    """
    best = {
        problem: min((by_problem[problem] for by_problem in costs.values() if problem in by_problem), default=np.inf)
        for problem in problems
    }
    return {
        solver: np.array([by_problem[p] / best[p] if p in by_problem else np.inf for p in problems])
        for solver, by_problem in costs.items()
    }


def share_within(factor: float, solver_ratios: np.ndarray) -> float:
    """Return rho(factor): the share of problems solved within `factor` times the cheapest solver's cost."""
    return float(np.mean(solver_ratios <= factor)) if solver_ratios.size else 0.0


def draw(costs: Costs, problems: Sequence[str], path: Path, highlight: str = "homestretch", widest: float = 64) -> None:
    """Draw the profile of every solver to a PNG file.

    Args:
        costs: cost by solver and problem.
        problems: the problems counted.
        path: the file.
        highlight: solvers whose name starts so are drawn thick and black.
        widest: the largest ratio on the axis.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colours = plt.get_cmap("tab20")
    styles = cycle(("-", "--", ":", "-."))
    by_solver = ratios(costs, problems)
    order = sorted(by_solver, key=lambda solver: -share_within(widest, by_solver[solver]))
    for number, solver in enumerate(order):
        values = by_solver[solver]
        steps = np.unique(np.concatenate(([1.0], values[values <= widest], [widest])))
        heights = [share_within(step, values) for step in steps]
        if solver.startswith(highlight):
            style: dict[str, Any] = {"color": "black", "linestyle": next(styles), "linewidth": 2.5}
        else:
            style = {"color": colours(number % 20), "linewidth": 1.2}
        axes.step(steps, heights, where="post", label=solver, **style)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1, widest)
    axes.set_ylim(0, 1)
    axes.set_xlabel("cost over that of the cheapest solver")
    axes.set_ylabel(f"share of the {len(problems)} problems")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)
