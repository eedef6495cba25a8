"""What all figures share: colours, styles, an empty figure, axes that take only what can be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIRST, SECOND, MARK, QUIET = "#0072b2", "#d55e00", "#000000", "#8a8a8a"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito (2008), safe for colour-blind eyes
DASHES = ("-", "--", "-.", ":")  # told apart in black and white too


@dataclass(frozen=True)
class Drawing:
    """A figure and the rows it was drawn from.

    Attributes:
        figure: The figure.
        rows: Its data, one dictionary a point.
    """

    figure: Figure
    rows: list[dict[str, Any]]


LINE: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1, "linestyle": "-"}
DIAMOND: dict[str, Any] = {"marker": "D", "markersize": 7, "linestyle": "none", "zorder": 4}


def blank(title: str, panels: int = 1) -> tuple[Figure, Any]:
    """An empty figure and its axes, a list of them for several panels."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots(panels, sharex=True)
    figure.suptitle(title, fontsize="medium")
    for panel in [axes] if panels == 1 else axes:
        panel.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    return figure, axes


def positive(*values: float) -> bool:
    """Whether all can be drawn on a logarithmic axis."""
    return all(math.isfinite(v) and v > 0.0 for v in values)


def log_axes(axes: Axes, *which: str, rows: Sequence[tuple[float, float]]) -> None:
    """Logarithmic axes, where there is something positive to show."""
    if any(positive(*row) for row in rows):
        for name in which:
            getattr(axes, f"set_{name}scale")("log")


def drawn(*values: float) -> bool:
    """Whether all can be drawn on an axis that takes numbers of either sign."""
    return all(math.isfinite(v) for v in values)


def loss_axis(axes: Axes, which: str, losses: Sequence[float]) -> Callable[..., bool]:
    """Scale the axis of the losses: logarithmic if all are positive, with zero on it if the lowest is, linear if some are less.

    Returns:
        Which values can be drawn on it.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    above = [loss for loss in finite if loss > 0.0]
    if not above or min(finite) < 0.0:
        return drawn
    scale = getattr(axes, f"set_{which}scale")
    if len(above) == len(finite):
        scale("log")
        return positive
    scale("symlog", linthresh=min(above))
    return drawn


def legend(axes: Axes) -> None:
    """A legend, where there is something to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
