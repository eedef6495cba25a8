"""The paper's six figures, each one function that returns the figure with its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from homestretch.errors import DataError
from homestretch.history import History
from homestretch.paper.figures import formulas
from homestretch.paper.table.traces import Key
from homestretch.report import Drawing, gradient_norm_against_loss, loss_against_cost, save
from homestretch.report.canvas import CYCLE, DASHES, DIAMOND, LINE, MARK, QUIET, blank, legend

__all__ = ["figure_1", "figure_2", "figure_3", "figure_4", "figure_5", "figure_6", "save_figures"]

_SHOWN = ("adam", "golden-30", "cg-alone-pr", "auto")
_TWO_PHASES = ("golden-30", "lbfgs-adam-30", "auto", "adam")


def figure_1() -> Drawing:
    """Loss of five random models of one parameter against it."""
    figure, axes = blank("Figure 1: loss of five random one-parameter models")
    rows = formulas.one_parameter_losses()
    for number in sorted({row["model"] for row in rows}):
        shown = [row for row in rows if row["model"] == number]
        axes.plot([r["p"] for r in shown], [r["loss"] for r in shown], label=f"model {number:g}", **_style(int(number) - 1))
    axes.set(xlabel="parameter", ylabel="loss")
    legend(axes)
    return Drawing(figure, [{"model": r["model"], "p": r["p"], "loss": r["loss"]} for r in rows])


def figure_2() -> Drawing:
    """The gradient norm of the same models against their loss."""
    figure, axes = blank("Figure 2: their gradient norm against the loss")
    rows = formulas.one_parameter_losses()
    for number in sorted({row["model"] for row in rows}):
        # One side of the parameter's axis: both together would draw every curve twice.
        shown = [row for row in rows if row["model"] == number and row["p"] >= 0.0]
        norms = [r["gradient_norm"] for r in shown]
        axes.plot([r["loss"] for r in shown], norms, label=f"model {number:g}", **_style(int(number) - 1))
    axes.set(xlabel="loss (a descent runs from right to left)", ylabel="gradient norm")
    legend(axes)
    return Drawing(figure, [{k: r[k] for k in ("model", "p", "loss", "gradient_norm")} for r in rows])


def figure_3() -> Drawing:
    """A descent across level curves, from the non-convex region into the convex one."""
    figure, axes = blank("Figure 3: a descent into the convex region")
    descent = formulas.descent_2d()
    axes.contour(descent.x.tolist(), descent.y.tolist(), descent.values.tolist(), levels=12, colors=QUIET, linewidths=0.7)
    axes.contour(
        descent.x.tolist(), descent.y.tolist(), descent.values.tolist(), levels=[_BORDER], colors=MARK, linestyles="--"
    )
    path = descent.path
    axes.plot([r["x"] for r in path], [r["y"] for r in path], color=CYCLE[0], label="gradient descent", **LINE)
    peak = max(path, key=lambda r: r["gradient_norm"])
    axes.plot([peak["x"]], [peak["y"]], color=CYCLE[1], label="largest gradient norm", **DIAMOND)
    axes.plot([], [], color=MARK, linestyle="--", label="border of the convex region")
    axes.set(xlabel="x", ylabel="y")
    legend(axes)
    return Drawing(figure, [dict(row) for row in path])


def figure_4() -> Drawing:
    """One basin splits into several as a constant grows."""
    figure, axes = blank("Figure 4: a basin splits")
    rows = formulas.basins()
    for number, constant in enumerate(formulas.SPLITS):
        shown = [row for row in rows if row["C"] == constant]
        axes.plot([r["x"] for r in shown], [r["loss"] for r in shown], label=f"C = {constant:.2f}", **_style(number))
    axes.set(xlabel="x", ylabel="loss")
    legend(axes)
    return Drawing(figure, [dict(row) for row in rows])


def figure_5(histories: Mapping[Key, History], data: str, model: str, seed: int = 0) -> Drawing:
    """Gradient norm against loss through both phases of a run; of Adam alone where no run with two phases is there.

    Raises:
        DataError: If there is no such run.
    """
    for recipe in _TWO_PHASES:
        if (key := (data, model, seed, recipe)) in histories:
            return gradient_norm_against_loss(histories[key], f"Figure 5: {data} / {model}, {recipe}, seed {seed}")
    raise DataError(f"there is no run of {data}/{model} with seed {seed}: make one by `homestretch paper table`")


def figure_6(histories: Mapping[Key, History], data: str, model: str, seed: int = 0) -> Drawing:
    """Loss against cost: Adam, Adam then conjugate gradients, conjugate gradients alone, and what the library does.

    Raises:
        DataError: If there is no such run.
    """
    shown = {recipe: histories[data, model, seed, recipe] for recipe in _SHOWN if (data, model, seed, recipe) in histories}
    if not shown:
        raise DataError(f"there is no run of {data}/{model} with seed {seed}: make one by `homestretch paper table`")
    return loss_against_cost(shown, f"Figure 6: {data} / {model}, seed {seed}")


def save_figures(folder: Path, histories: Mapping[Key, History], data: str, model: str, seed: int = 0) -> list[Path]:
    """Write the figures that can be drawn, each as PNG and PDF with its data as CSV: 5 and 6 need a run.

    Returns:
        The files.
    """
    drawings = {"figure-1": figure_1(), "figure-2": figure_2(), "figure-3": figure_3(), "figure-4": figure_4()}
    if any(key[:3] == (data, model, seed) for key in histories):
        name = f"{data}-{model}"
        drawings[f"figure-5-{name}"] = figure_5(histories, data, model, seed)
        drawings[f"figure-6-{name}"] = figure_6(histories, data, model, seed)
    return [path for name, drawing in drawings.items() for path in save(drawing, folder, name)]


_BORDER = 1.0 - math.exp(-0.5)  # the well's value at q = 1


def _style(number: int) -> dict[str, object]:
    return {"color": CYCLE[number % len(CYCLE)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.5}
