"""The solvers side by side: each a library, a method and a function that runs it on a counted problem.

To add one, write `run(meter) -> message` (for anything with `step(closure)`, `run_optimizer` is that) and a line in
`SOLVERS`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np

from benchmarks.functions.problem import Problem
from benchmarks.peers.meter import BUDGET, Halt, Meter
from benchmarks.peers.ours import engine_version, run_ours, run_ours_with_products
from benchmarks.peers.scipy_peers import run_scipy
from benchmarks.peers.torch_peers import (
    run_ncg_optimizer,
    run_pytorch_minimize,
    run_torch_lbfgs,
    run_torchzero,
)
from homestretch import LBFGS, ConjugateGradient, GaussNewtonCG, LevenbergMarquardt, NewtonCG, SelfScaledBroyden

DENSE_LIMIT = 1500
"""Solvers that keep n x n numbers run up to this n."""


@dataclass(frozen=True)
class Solver:
    """One column of the comparison.

    Attributes:
        library: the distribution's name, as pip knows it.
        method: the method's name in that library.
        run: takes a fresh meter, returns the solver's words on why it stopped.
        largest: the largest n it is run at, if it has a limit.
    """

    library: str
    method: str
    run: Callable[[Meter], str]
    largest: int | None = None

    @property
    def name(self) -> str:
        """`library/method`."""
        return f"{self.library}/{self.method}"

    def takes(self, problem: Problem) -> bool:
        """Say whether the problem is within the solver's size limit."""
        return self.largest is None or problem.size <= self.largest

    @property
    def version(self) -> str:
        """The installed version of the library; of ours, what tells one state of the engine from another."""
        return engine_version() if self.library == "homestretch" else version(self.library)


SOLVERS: tuple[Solver, ...] = (
    Solver("homestretch", "ConjugateGradient", partial(run_ours, make=ConjugateGradient)),
    Solver("homestretch", "LBFGS", partial(run_ours, make=LBFGS)),
    Solver("homestretch", "SelfScaledBroyden", partial(run_ours, make=SelfScaledBroyden), largest=DENSE_LIMIT),
    Solver("homestretch", "BFGS", partial(run_ours, make=partial(SelfScaledBroyden, variant="bfgs")), largest=DENSE_LIMIT),
    Solver("homestretch", "NewtonCG", partial(run_ours_with_products, make=NewtonCG)),
    Solver("homestretch", "GaussNewtonCG", partial(run_ours_with_products, make=GaussNewtonCG)),
    Solver("homestretch", "LevenbergMarquardt", partial(run_ours_with_products, make=LevenbergMarquardt), largest=DENSE_LIMIT),
    Solver("scipy", "CG", partial(run_scipy, method="CG")),
    Solver("scipy", "BFGS", partial(run_scipy, method="BFGS"), largest=DENSE_LIMIT),
    Solver("scipy", "L-BFGS-B", partial(run_scipy, method="L-BFGS-B")),
    Solver("scipy", "Newton-CG", partial(run_scipy, method="Newton-CG")),
    Solver("torch", "LBFGS", run_torch_lbfgs),
    Solver("pytorch-minimize", "cg", partial(run_pytorch_minimize, method="cg")),
    Solver("pytorch-minimize", "l-bfgs", partial(run_pytorch_minimize, method="l-bfgs")),
    Solver("pytorch-minimize", "newton-cg", partial(run_pytorch_minimize, method="newton-cg")),
    Solver("pytorch-minimize", "trust-ncg", partial(run_pytorch_minimize, method="trust-ncg")),
    Solver("torchzero", "PolakRibiere", partial(run_torchzero, method="PolakRibiere")),
    Solver("torchzero", "HagerZhang", partial(run_torchzero, method="HagerZhang")),
    Solver("torchzero", "LBFGS", partial(run_torchzero, method="LBFGS")),
    Solver("ncg-optimizer", "BASIC", run_ncg_optimizer),
    Solver("ncg-optimizer", "BASIC-HZ", partial(run_ncg_optimizer, method="HZ", line_search="Strong_Wolfe")),
)


def solve(solver: Solver, problem: Problem, budget: float = BUDGET, seconds: float = 20.0) -> tuple[Meter, str, str]:
    """Run a solver on a problem and return its meter, a status and the words behind it.

    The status is `solved`, `budget` or `time` where the meter ended the run, `stopped` where the solver did, and
    `failed` where it raised an error of its own, which is caught: a peer's crash is a result.
    """
    meter = Meter(problem, budget, seconds, time.process_time)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            message = solver.run(meter)
        except Halt as halt:
            return meter, str(halt), ""
        except Exception as error:  # whatever a peer raises is its result
            return meter, "failed", f"{type(error).__name__}: {error}"
    return meter, "stopped", message
