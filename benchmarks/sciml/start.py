"""The shared first phase, made once a problem and seed and kept beside the cached runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import results_io
from benchmarks.sciml import make_problem
from benchmarks.sciml.problem import Problem, warm_up

EDITION = 2
"""Raise it when the networks, the points or the first phase change."""


def started(
    name: str,
    seed: int,
    steps: int | None = None,
    folder: Path | None = None,
    make: Callable[[int], Problem] | None = None,
) -> tuple[Problem, torch.optim.Adam]:
    """Return the problem after its warm-up, and the optimizer that made it, both fresh copies at every call.

    Args:
        name: the problem's name.
        seed: its seed.
        steps: steps of the warm-up, the problem's own number if not given.
        folder: where warm-ups are kept.
        make: makes the problem from the seed, if it is not one of the benchmark's by that name.
    """
    problem = make(seed) if make is not None else make_problem(name, seed)
    if steps is not None:
        problem.warm_up = replace(problem.warm_up, steps=steps)
    folder = folder or results_io.CACHE / "sciml-start"
    path = folder / f"{name}-{seed}-{problem.warm_up.steps}-{EDITION}.pt"
    if not path.exists():
        adam = warm_up(problem)
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{id(problem)}.draft")
        torch.save({"module": problem.module.state_dict(), "adam": adam.state_dict()}, draft)
        draft.replace(path)
    known = torch.load(path, weights_only=True)
    problem.module.load_state_dict(known["module"])
    adam = torch.optim.Adam(problem.module.parameters(), lr=problem.warm_up.learning_rate)
    adam.load_state_dict(known["adam"])
    problem.module.zero_grad()
    return problem, adam
