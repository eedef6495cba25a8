"""The cases that the rules of `homestretch.auto` rest on: for each rule what it picks, beside what it passes over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.choices.digits import Digits
from benchmarks.choices.equations import Cubic, Diffusion
from benchmarks.choices.fits import Fit
from benchmarks.sciml import Poisson2D, Problem
from benchmarks.sciml.ours import Limits, Method
from homestretch import LBFGS, LeastSquares, LevenbergMarquardt, SelfScaledBroyden

BROYDEN = Method("SelfScaledBroyden", partial(SelfScaledBroyden, max_parameters=10**5))
SQUARES = Method("LevenbergMarquardt", LevenbergMarquardt)
LIMITED = Method("LBFGS", partial(LBFGS))
ALL = (SQUARES, BROYDEN, LIMITED)


@dataclass(frozen=True)
class Case:
    """Methods side by side on one problem.

    Attributes:
        name: its name.
        rule: the rule that it is evidence for, as a question.
        make: makes the problem from a seed.
        methods: what is compared.
        limits: where a run ends.
        seeds: how many seeds.
        steps: steps of the Adam warm-up.
    """

    name: str
    rule: str
    make: Callable[[int], Problem]
    methods: tuple[Method, ...] = ALL
    limits: Limits = Limits(seconds=5.0)  # noqa: RUF009 - it is frozen
    seeds: int = 3
    steps: int = 2000


class NoPoints(Poisson2D):
    """The same equation, its residual function holding its points itself."""

    def least_squares(self) -> Any:
        flops = self.gradient_flops()
        return LeastSquares(lambda: self.terms(self.module, self.points), self.module, flops_per_gradient=flops)


def in_single(problem: Problem) -> Problem:
    """Put a problem into float32, in place."""
    problem.module.float()
    for name, value in vars(problem).items():
        setattr(problem, name, _shortened(value))
    return problem


def _shortened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float64 else value
    if isinstance(value, dict):
        return {key: _shortened(entry) for key, entry in value.items()}
    return tuple(_shortened(entry) for entry in value) if isinstance(value, tuple) else value


SURPLUS = "How many residuals a parameter does Levenberg-Marquardt need?"
LARGEST = "Up to how many parameters does it pay?"
SHORT = Limits(seconds=3.0)


def _fit(target: str, hidden: Sequence[int], points: int, rule: str = LARGEST, seeds: int = 3) -> Case:
    make = partial(Fit, target=target, hidden=hidden, points=points)
    size = make(0).size
    name = f"{target}, {size} parameters" + (f", {points / size:.1f} residuals each" if rule == SURPLUS else "")
    return Case(name, rule, make, limits=SHORT, seeds=seeds)


def _equation(kind: type[Cubic | Diffusion], hidden: Sequence[int], points: int, seeds: int = 3) -> Case:
    make = partial(kind, hidden=hidden, points=points)
    return Case(f"{kind.__name__.lower()}, {make(0).size} parameters", LARGEST, make, limits=SHORT, seeds=seeds)


CASES: tuple[Case, ...] = (
    _equation(Cubic, (16,), 600),
    _fit("waves", (16,), 500),
    _equation(Diffusion, (8, 8), 600),
    _fit("waves", (32,), 1000),
    _equation(Cubic, (40,), 1000),
    _fit("ripple", (40,), 1500),
    _fit("saddle", (12, 12, 12), 1500, seeds=2),
    _fit("bumps", (128,), 2000, seeds=2),
    _equation(Diffusion, (20, 20), 1500, seeds=2),
    *(_fit("waves", (16,), points, SURPLUS) for points in (32, 64, 147)),
    Case(
        "poisson-2d with 97 parameters, no points given",
        "What if a Jacobian takes a backward pass for each of its columns?",
        partial(NoPoints, width=24),
        limits=SHORT,
        seeds=2,
    ),
    Case(
        "poisson-2d in float32",
        "Do dense methods work in float32?",
        lambda seed: in_single(Poisson2D(seed)),
        limits=SHORT,
        seeds=2,
    ),
    Case(
        "digits in float64 (classification, an Objective)",
        "What if there are no residuals, only a data set?",
        Digits,
        (BROYDEN, LIMITED),
        SHORT,
        seeds=2,
        steps=200,
    ),
    Case(
        "digits in float32",
        "What if there are no residuals, only a data set?",
        lambda seed: in_single(Digits(seed)),
        (BROYDEN, LIMITED),
        SHORT,
        seeds=2,
        steps=200,
    ),
    Case(
        "poisson-2d with 8,001 parameters",
        "What if a dense matrix has more rows than 6,000?",
        partial(Poisson2D, width=2000),
        (BROYDEN, LIMITED),
        Limits(seconds=40.0),
        seeds=1,
        steps=200,
    ),
)
"""In the order of the page."""

SMALL = Limits(seconds=math.inf, iterations=5)
