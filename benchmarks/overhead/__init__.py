"""What the machinery costs beside the evaluations it drives: time, memory, throughput."""

from benchmarks.overhead.cases import CASES, Case
from benchmarks.overhead.iterations import METHODS, iteration_overhead
from benchmarks.overhead.live_memory import LiveMemory
from benchmarks.overhead.memory import pass_memory, vectors_kept
from benchmarks.overhead.reading import pairs_read
from benchmarks.overhead.throughput import full_pass, mini_batches

__all__ = [
    "CASES",
    "METHODS",
    "Case",
    "LiveMemory",
    "full_pass",
    "iteration_overhead",
    "mini_batches",
    "pairs_read",
    "pass_memory",
    "vectors_kept",
]
