"""What people look at: figures and tables made from records."""

from homestretch.report.figures import (
    gradient_norm_against_loss,
    gradient_norm_by_epoch,
    loss_against_cost,
    search_effort,
)
from homestretch.report.save import save
from homestretch.report.tables import Row, to_markdown, to_table

__all__ = [
    "Row",
    "gradient_norm_against_loss",
    "gradient_norm_by_epoch",
    "loss_against_cost",
    "save",
    "search_effort",
    "to_markdown",
    "to_table",
]
