"""Figures of a run: each function takes records and returns a figure with the data it shows.

What cannot be drawn (a run without a swap, norms and steps of zero on a logarithmic axis, numbers that are not finite) is left
out of the figure and kept in its data. Losses of zero or less are drawn, on an axis that takes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from homestretch.history import EpochRecord, EventRecord, History, IterationRecord
from homestretch.report.canvas import (
    CYCLE,
    DASHES,
    DIAMOND,
    FIRST,
    LINE,
    MARK,
    QUIET,
    SECOND,
    Drawing,
    blank,
    legend,
    log_axes,
    loss_axis,
    positive,
)

_PHASES = (("first", FIRST, "first phase"), ("second", SECOND, "convex phase"))
_KINDS = {"running-mean": "mean of mini-batches", "probe": "fixed sample", "exact": "exact", "given": "given"}
_THRESHOLD = 0.9  # Algorithm 1's factor


def gradient_norm_against_loss(history: History, title: str = "") -> Drawing:
    """Gradient norm against loss, the swap marked: figure 5 of Hrycej et al. (2025). Training runs from right to left."""
    figure, axes = blank(title or "Gradient norm against loss")
    rows: list[dict[str, Any]] = []
    shown = loss_axis(axes, "x", [r.loss for r in history.of(EpochRecord)])
    for phase, colour, label in _PHASES:
        records = [r for r in history.of(EpochRecord) if r.phase == phase]
        rows += [{"phase": phase, "epoch": r.epoch, "loss": r.loss, "gradient_norm": r.gradient_norm} for r in records]
        points = [(r.loss, r.gradient_norm) for r in records if shown(r.loss) and positive(r.gradient_norm)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=_with_kind(label, records), **LINE)
    for number, swap in enumerate(_swaps(history)):
        if shown(swap.loss) and positive(swap.gradient_norm):
            label = f"swap after epoch {swap.epoch}" if number == 0 else None
            axes.plot([swap.loss], [swap.gradient_norm], color=MARK, label=label, **DIAMOND)
    log_axes(axes, "y", rows=[(1.0, r["gradient_norm"]) for r in rows])
    axes.set(xlabel="loss (training runs from right to left)", ylabel="gradient norm")
    legend(axes)
    return Drawing(figure, rows)


def loss_against_cost(histories: Mapping[str, History], title: str = "") -> Drawing:
    """Loss against counted cost for several recipes: figure 6 of Hrycej et al. (2025)."""
    figure, axes = blank(title or "Loss against cost")
    rows: list[dict[str, Any]] = []
    shown = loss_axis(axes, "y", [r.loss for history in histories.values() for r in history.of(EpochRecord)])
    for number, (name, history) in enumerate(histories.items()):
        colour = CYCLE[number % len(CYCLE)]
        records = history.of(EpochRecord)
        rows += [
            {"recipe": name, "epoch": r.epoch, "phase": r.phase, "cost": r.gradient_equivalents, "loss": r.loss}
            for r in records
        ]
        points = [(r.gradient_equivalents, r.loss) for r in records if shown(r.loss)]
        if points:
            dashes = DASHES[number % len(DASHES)]
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.5, label=name)
        for swap in _swaps(history):
            if shown(swap.loss):
                axes.plot([swap.gradient_equivalents], [swap.loss], color=colour, **DIAMOND)
    axes.set(xlabel="cost (gradient-equivalents; diamonds: swaps)", ylabel="loss")
    legend(axes)
    return Drawing(figure, rows)


def gradient_norm_by_epoch(history: History, title: str = "", factor: float = _THRESHOLD) -> Drawing:
    """Gradient norm of each epoch, with the first phase's running maximum, the literal rule's threshold and the swaps.

    The maximum begins anew where the run has gone back to the first phase, as the rule does.
    """
    figure, axes = blank(title or "Gradient norm by epoch")
    records = history.of(EpochRecord)
    rows: list[dict[str, Any]] = []
    maximum, returns = 0.0, _returns(history)
    for r in records:
        if r.epoch - 1 in returns:
            maximum = 0.0
        if r.phase == "first" and math.isfinite(r.gradient_norm):
            maximum = max(maximum, r.gradient_norm)
        levels = {"running_maximum": maximum, "threshold": factor * maximum}
        rows.append({"epoch": r.epoch, "phase": r.phase, "gradient_norm": r.gradient_norm, **levels})
    watched = [r for r in rows if r["phase"] == "first" and positive(r["running_maximum"])]
    for name, label, dashes in (("running_maximum", "running maximum", "-"), ("threshold", f"literal rule: {factor:g} x", ":")):
        if watched:
            axes.step(
                [r["epoch"] for r in watched],
                [r[name] for r in watched],
                where="post",
                color=QUIET,
                linestyle=dashes,
                label=label,
            )
    for phase, colour, label in _PHASES:
        shown = [r for r in records if r.phase == phase and positive(r.gradient_norm)]
        if shown:
            norms = [r.gradient_norm for r in shown]
            axes.plot([r.epoch for r in shown], norms, color=colour, label=_with_kind(label, shown), **LINE)
    for number, swap in enumerate(_swaps(history)):
        label = f"swap after epoch {swap.epoch}" if number == 0 else None
        axes.axvline(swap.epoch, color=MARK, linestyle="--", linewidth=1, label=label)
    log_axes(axes, "y", rows=[(1.0, r["gradient_norm"]) for r in rows])
    axes.set(xlabel="epoch (in the convex phase: iteration)", ylabel="gradient norm")
    legend(axes)
    return Drawing(figure, rows)


def search_effort(history: History, title: str = "") -> Drawing:
    """Step length and evaluations of each line search of the convex phase, one above the other."""
    figure, axes = blank(title or "Line searches", panels=2)
    steps, effort = axes
    rows: list[dict[str, Any]] = [
        {
            "iteration": number,
            "first_step": r.first_step,
            "step": r.step,
            "forwards": r.forwards,
            "gradients": r.gradients,
            "status": r.search_status,
            "restart": r.restart,
        }
        for number, r in enumerate(history.of(IterationRecord), 1)
    ]
    for name, label, colour, style in (
        ("first_step", "first step tried", QUIET, {"marker": "x", "markersize": 3, "linestyle": "none"}),
        ("step", "step taken", SECOND, LINE),
    ):
        points = [(r["iteration"], r[name]) for r in rows if positive(r[name])]
        if points:
            steps.plot(*zip(*points, strict=True), color=colour, label=label, **style)
    log_axes(steps, "y", rows=[(1.0, r["step"]) for r in rows])
    steps.set_ylabel("step length\n(times the direction)")
    if rows:
        numbers, gradients = [r["iteration"] for r in rows], [r["gradients"] for r in rows]
        effort.bar(numbers, gradients, color=FIRST, label="forward and backward")
        effort.bar(numbers, [r["forwards"] for r in rows], bottom=gradients, color=CYCLE[5], label="forward only")
    else:
        effort.text(0.5, 0.5, "no iteration of the convex phase", ha="center", va="center", transform=effort.transAxes)
    for axis in (effort.xaxis, effort.yaxis):
        axis.get_major_locator().set_params(integer=True)
    effort.set(xlabel="iteration of the convex phase", ylabel="evaluations")
    for panel in axes:
        legend(panel)
    return Drawing(figure, rows)


def _with_kind(label: str, records: Sequence[EpochRecord]) -> str:
    """The label with how the gradient norm was measured."""
    kinds = dict.fromkeys(_KINDS.get(r.gradient_norm_kind, r.gradient_norm_kind) for r in records)
    return f"{label} ({', '.join(kinds)})"


def _returns(history: History) -> set[int]:
    """The last epochs before each return to the first phase, a race that it has won among them."""
    events = history.of(EventRecord)
    won = {e.epoch for e in events if e.name == "race" and not e.values["second_loss"] <= e.values["first_loss"]}
    return won | {e.epoch for e in events if e.name == "resort"}


def _swaps(history: History) -> list[EpochRecord]:
    """The last epochs before each swap."""
    epochs = {e.epoch for e in history.of(EventRecord) if e.name == "swap"}
    return [r for r in history.of(EpochRecord) if r.epoch in epochs]
