"""When to swap: every rule against fixed swaps, from one stored first phase for each problem and seed."""

from __future__ import annotations

from benchmarks.swap.cells import SCALES, Cell, Setting, cells_of
from benchmarks.swap.methods import FIXED_SHARES, REPLAYED, Live, live_methods
from benchmarks.swap.recording import Record, epoch_of_share, first_phase, replay
from benchmarks.swap.runs import live_run, swapped_run

__all__ = [
    "FIXED_SHARES",
    "REPLAYED",
    "SCALES",
    "Cell",
    "Live",
    "Record",
    "Setting",
    "cells_of",
    "epoch_of_share",
    "first_phase",
    "live_methods",
    "live_run",
    "replay",
    "swapped_run",
]
