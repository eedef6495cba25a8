"""Smooth test functions with known minima, and the traps a line search must survive."""

from benchmarks.functions.catalogue import BY_NAME, FUNCTIONS, all_problems, large_problems, quick_problems
from benchmarks.functions.problem import Function, Problem
from benchmarks.functions.traps import TRAPS, Trap

__all__ = [
    "BY_NAME",
    "FUNCTIONS",
    "TRAPS",
    "Function",
    "Problem",
    "Trap",
    "all_problems",
    "large_problems",
    "quick_problems",
]
