"""Full-batch least squares of scientific machine learning: regression in one dimension and three PINNs, float64.

`make_problem(name, seed)` gives a problem with its network at the start; `warm_up(problem)` is the shared first phase.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.sciml.burgers import Burgers
from benchmarks.sciml.convection import Convection
from benchmarks.sciml.poisson_2d import Poisson2D
from benchmarks.sciml.problem import Problem, WarmUp, warm_up
from benchmarks.sciml.zoo import TARGETS, WIDTHS, Zoo

PROBLEMS: dict[str, Callable[[int], Problem]] = {
    **{
        f"zoo-{target}-{width}": lambda seed, target=target, width=width: Zoo(seed, target, width)
        for target in TARGETS
        for width in WIDTHS
    },
    "poisson-2d": Poisson2D,
    "convection": Convection,
    "burgers": Burgers,
}
"""Each problem's name and how it is made from a seed."""


def make_problem(name: str, seed: int = 0) -> Problem:
    """Return the named problem, its network freshly drawn from `seed`."""
    if name not in PROBLEMS:
        raise ValueError(f"no problem is called {name!r}; there are {', '.join(PROBLEMS)}")
    return PROBLEMS[name](seed)


__all__ = ["PROBLEMS", "Burgers", "Convection", "Poisson2D", "Problem", "WarmUp", "Zoo", "make_problem", "warm_up"]
