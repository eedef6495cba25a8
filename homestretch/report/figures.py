"""Figures of a run: each function takes records and returns a figure with the data it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from homestretch.history import EpochRecord, EventRecord, History, IterationRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST, SECOND, MARK, QUIET = "#0072b2", "#d55e00", "#000000", "#8a8a8a"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito (2008), safe for colour-blind eyes
_THRESHOLD = 0.9  # Algorithm 1's factor


@dataclass(frozen=True)
class Drawing:
    """A figure and the rows it was drawn from.

    Attributes:
        figure: The figure.
        rows: Its data, one dictionary a point.
    """

    figure: Figure
    rows: list[dict[str, Any]]


def gradient_norm_against_loss(history: History, title: str = "") -> Drawing:
    """Gradient norm against loss, the swap marked: figure 5 of Hrycej et al. (2025). Training runs from right to left."""
    figure, axes = _figure(title or "Gradient norm against loss")
    rows = []
    for phase, colour, label in (("first", FIRST, "first phase"), ("second", SECOND, "convex phase")):
        records = [r for r in history.of(EpochRecord) if r.phase == phase]
        rows += [{"phase": phase, "epoch": r.epoch, "loss": r.loss, "gradient_norm": r.gradient_norm} for r in records]
        points = [(r.loss, r.gradient_norm) for r in records if _positive(r.loss, r.gradient_norm)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3, linewidth=1, label=label)
    for number, swap in enumerate(_swaps(history)):
        if _positive(swap.loss, swap.gradient_norm):
            label = "swap" if number == 0 else None
            axes.plot([swap.loss], [swap.gradient_norm], color=MARK, marker="D", markersize=8, linestyle="none", label=label)
    _log(axes, "x", "y", rows=[(r["loss"], r["gradient_norm"]) for r in rows])
    axes.invert_xaxis()
    axes.set(xlabel="loss (training runs from right to left)", ylabel="gradient norm")
    _legend(axes)
    return Drawing(figure, rows)


def loss_against_cost(histories: Mapping[str, History], title: str = "") -> Drawing:
    """Loss against counted cost for several recipes: figure 6 of Hrycej et al. (2025)."""
    figure, axes = _figure(title or "Loss against cost")
    rows = []
    for number, (name, history) in enumerate(histories.items()):
        colour = CYCLE[number % len(CYCLE)]
        records = history.of(EpochRecord)
        rows += [{"recipe": name, "epoch": r.epoch, "phase": r.phase, "cost": r.gradient_equivalents, "loss": r.loss} for r in records]
        points = [(r.gradient_equivalents, r.loss) for r in records if _positive(r.loss)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.5, label=name)
        for swap in _swaps(history):
            if _positive(swap.loss):
                axes.plot([swap.gradient_equivalents], [swap.loss], color=colour, marker="D", markersize=7, linestyle="none")
    _log(axes, "y", rows=[(1.0, r["loss"]) for r in rows])
    axes.set(xlabel="cost (gradient-equivalents; diamonds: swaps)", ylabel="loss")
    _legend(axes)
    return Drawing(figure, rows)


def gradient_norm_by_epoch(history: History, title: str = "", factor: float = _THRESHOLD) -> Drawing:
    """Gradient norm of each epoch, with its running maximum, the literal rule's threshold and the swaps."""
    figure, axes = _figure(title or "Gradient norm by epoch")
    rows, maximum = [], 0.0
    for r in history.of(EpochRecord):
        if r.phase == "first" and math.isfinite(r.gradient_norm):
            maximum = max(maximum, r.gradient_norm)
        rows.append(
            {
                "epoch": r.epoch,
                "phase": r.phase,
                "gradient_norm": r.gradient_norm,
                "running_maximum": maximum,
                "threshold": factor * maximum,
            }
        )
    epochs = [r["epoch"] for r in rows]
    if rows:
        axes.plot(epochs, [r["gradient_norm"] for r in rows], color=FIRST, marker="o", markersize=3, label="gradient norm")
        axes.plot(epochs, [r["running_maximum"] for r in rows], color=QUIET, label="running maximum")
        axes.plot(epochs, [r["threshold"] for r in rows], color=QUIET, linestyle=":", label=f"{factor:g} x maximum")
    for number, swap in enumerate(_swaps(history)):
        axes.axvline(swap.epoch, color=MARK, linestyle="--", linewidth=1, label="swap" if number == 0 else None)
    _log(axes, "y", rows=[(1.0, r["gradient_norm"]) for r in rows])
    axes.set(xlabel="epoch", ylabel="gradient norm")
    _legend(axes)
    return Drawing(figure, rows)


def search_effort(history: History, title: str = "") -> Drawing:
    """Step length and evaluations of each line search of the convex phase."""
    figure, axes = _figure(title or "Line searches")
    records = history.of(IterationRecord)
    rows = [
        {
            "iteration": number,
            "step": r.step,
            "forwards": r.forwards,
            "gradients": r.gradients,
            "status": r.search_status,
            "restart": r.restart,
        }
        for number, r in enumerate(records, 1)
    ]
    other = axes.twinx()
    if rows:
        numbers = [r["iteration"] for r in rows]
        other.bar(numbers, [r["forwards"] + r["gradients"] for r in rows], color=QUIET, alpha=0.35, label="evaluations")
        taken = [(r["iteration"], r["step"]) for r in rows if _positive(r["step"])]
        if taken:
            axes.plot(*zip(*taken, strict=True), color=SECOND, marker="o", markersize=3, linewidth=1, label="step length")
    axes.set_zorder(other.get_zorder() + 1)
    axes.patch.set_visible(False)
    _log(axes, "y", rows=[(1.0, r["step"]) for r in rows])
    axes.set(xlabel="iteration of the convex phase", ylabel="step length (points)")
    other.set_ylabel("evaluations in the search (bars)")
    return Drawing(figure, rows)


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    return figure, axes


def _swaps(history: History) -> list[EpochRecord]:
    """The last epochs before each swap."""
    epochs = {e.epoch for e in history.of(EventRecord) if e.name == "swap"}
    return [r for r in history.of(EpochRecord) if r.epoch in epochs]


def _positive(*values: float) -> bool:
    return all(math.isfinite(v) and v > 0.0 for v in values)


def _log(axes: Axes, *which: str, rows: Sequence[tuple[float, float]]) -> None:
    """Logarithmic axes, where there is something positive to show."""
    if any(_positive(*row) for row in rows):
        for name in which:
            getattr(axes, f"set_{name}scale")("log")


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
