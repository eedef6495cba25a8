"""Write a figure with its data beside it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from homestretch.report.canvas import Drawing


def save(drawing: Drawing, folder: str | os.PathLike[str], name: str) -> list[Path]:
    """Write ``NAME.png`` for the screen, ``NAME.pdf`` for print and ``NAME.csv`` with the data; returns their paths.

    The same drawing gives the same bytes: no file holds a date. Numbers in the CSV are written so that reading them gives
    the same doubles.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    png, pdf, data = (place / f"{name}.{ending}" for ending in ("png", "pdf", "csv"))
    drawing.figure.savefig(png, dpi=150)
    drawing.figure.savefig(pdf, metadata={"CreationDate": None})
    names = list(dict.fromkeys(key for row in drawing.rows for key in row))
    with data.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(drawing.rows)
    return [png, pdf, data]
