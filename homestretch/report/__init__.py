"""What people look at: figures and tables made from records."""

from homestretch.report.canvas import Drawing
from homestretch.report.figures import (
    gradient_norm_against_loss,
    gradient_norm_by_epoch,
    loss_against_cost,
    search_effort,
)
from homestretch.report.save import save
from homestretch.report.tables import Row, comparison_markdown, comparison_table, notes

__all__ = [
    "Drawing",
    "Row",
    "comparison_markdown",
    "comparison_table",
    "gradient_norm_against_loss",
    "gradient_norm_by_epoch",
    "loss_against_cost",
    "notes",
    "save",
    "search_effort",
]
