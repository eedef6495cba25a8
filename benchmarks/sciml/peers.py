"""The peers of the benchmark, each a runner on a traced meter, and the legs between two redraws of the points."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from benchmarks.peers.meter import Halt, TorchClosure
from benchmarks.peers.scipy_peers import FOREVER, OPTIONS, NumpyObjective, run_scipy
from benchmarks.peers.torch_peers import run_pytorch_minimize
from benchmarks.sciml.flat import TracedMeter
from benchmarks.sciml.ours import UPDATE_FLOPS

DENSE_LIMIT = 1500
"""SciPy's and pytorch-minimize's BFGS, which keep n x n numbers, run up to this n."""


@dataclass(frozen=True)
class Peer:
    """One line of the comparison.

    Attributes:
        library: the distribution's name, as pip knows it.
        method: the method's name in that library.
        run: takes a meter, returns the solver's words on why it stopped.
        largest: the largest n it is run at, if it has a limit.
        update: floating-point operations of one dense update at n, for a quasi-Newton method.
    """

    library: str
    method: str
    run: Callable[[TracedMeter], str]
    largest: float = math.inf
    update: Callable[[int], float] = lambda n: 0.0

    @property
    def version(self) -> str:
        """The installed version of the library."""
        return version(self.library)


def run_scipy_bfgs(meter: TracedMeter) -> str:
    """Run SciPy's BFGS; its matrix is carried from leg to leg by `hess_inv0`."""
    objective = NumpyObjective(meter)
    options: dict[str, Any] = {**OPTIONS["BFGS"], "maxiter": int(min(meter.iterations_left, FOREVER))}
    if "hess_inv0" in meter.carried:
        options["hess_inv0"] = meter.carried["hess_inv0"]
    counted = 0

    def count(_: np.ndarray) -> None:
        nonlocal counted
        counted += 1
        # Halting on the last iteration would throw the matrix away, so that one is counted below.
        if counted < options["maxiter"]:
            meter.tick()

    result = minimize(
        objective.value, meter.start().numpy(), jac=objective.gradient, method="BFGS", options=options, callback=count
    )
    matrix = np.asarray(result.hess_inv)
    meter.carried["hess_inv0"] = 0.5 * (matrix + matrix.T)
    if counted >= options["maxiter"]:
        meter.tick()
    return str(result.message)


def run_torch_lbfgs(meter: TracedMeter, chunk: int = 20) -> str:
    """Run `torch.optim.LBFGS`, strong Wolfe, zero tolerances, history 100, `chunk` iterations a step."""
    closure = TorchClosure(meter)
    optimizer = torch.optim.LBFGS(
        [closure.parameter],
        max_iter=chunk,
        max_eval=FOREVER,
        history_size=100,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )
    state = optimizer.state[closure.parameter]
    done = 0
    while True:
        before = closure.parameter.detach().clone()
        optimizer.step(closure)
        if torch.equal(before, closure.parameter.detach()):
            return "the step no longer changes the parameters"
        done, taken = state["n_iter"], state["n_iter"] - done
        meter.tick(count=taken)


def run_first_order(meter: TracedMeter, make: Callable[[list[torch.nn.Parameter]], Any], ramp: int = 100) -> str:
    """Run a first-order optimizer, its rate on a linear ramp and then a cosine over what is left of the run."""
    parameters = [torch.nn.Parameter(piece.clone()) for piece in meter.flat.split(meter.start())]
    optimizer = make(parameters)
    (group,) = optimizer.param_groups
    highest = group["lr"]
    carried = int(meter.carried.get("steps", 0))  # type: ignore[call-overload]
    while True:
        step = meter.carried["steps"] = carried = carried + 1
        group["lr"] = highest * min(1.0, step / ramp) * 0.5 * (1.0 + math.cos(math.pi * min(meter.progress, 1.0)))
        optimizer.zero_grad()
        meter.loss(torch.cat([p.reshape(-1) for p in parameters])).backward()
        optimizer.step()
        meter.tick()


def _dense(n: int) -> float:
    """Products with, and low-rank updates of, an n x n matrix."""
    return UPDATE_FLOPS * n**2


def _scipy_dense(n: int) -> float:
    """SciPy's BFGS multiplies n x n matrices twice an iteration."""
    return 4.0 * n**3


def _soap(parameters: list[torch.nn.Parameter]) -> Any:
    from pytorch_optimizer import SOAP

    return SOAP(parameters, lr=3e-3, weight_decay=0.0)


def _run_ssbroyden(meter: TracedMeter) -> str:
    from benchmarks.sciml.jax_peer import run_ssbroyden

    return run_ssbroyden(meter)


PEERS: tuple[Peer, ...] = (
    Peer("torch", "LBFGS", run_torch_lbfgs),
    Peer("scipy", "L-BFGS-B", partial(run_scipy, method="L-BFGS-B")),
    Peer("scipy", "BFGS", run_scipy_bfgs, DENSE_LIMIT, _scipy_dense),
    Peer("ssbroyden-optimistix", "SSBroyden", _run_ssbroyden, update=_dense),
    Peer("pytorch-minimize", "bfgs", partial(run_pytorch_minimize, method="bfgs"), DENSE_LIMIT, _dense),
    Peer("pytorch-minimize", "l-bfgs", partial(run_pytorch_minimize, method="l-bfgs")),
    Peer("pytorch-minimize", "trust-ncg", partial(run_pytorch_minimize, method="trust-ncg")),
    Peer("torch", "adam-cosine", partial(run_first_order, make=partial(torch.optim.Adam, lr=3e-3))),
    Peer("pytorch-optimizer", "SOAP", partial(run_first_order, make=_soap)),
)


def run_peer(peer: Peer, meter: TracedMeter) -> tuple[str, str]:
    """Run a peer to the end of the meter's budget, leg by leg where points are redrawn; return a status and its reason.

    The status is `budget`, `time` or `iterations` where the meter ended the run, `stopped` where the solver did (a
    redraw lets it go on) and `failed` where it raised an error of its own, which is a result too.
    """
    reason = ""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        while True:
            before = meter.iterations
            try:
                reason, status = peer.run(meter), "stopped"
            except Halt as halt:
                status = str(halt)
            except Exception as error:  # whatever a peer raises is its result
                status, reason = "failed", f"{type(error).__name__}: {error}"
            if status != "redraw":
                break
            if meter.iterations == before:
                break
            meter.redraw()
    meter.sample()
    return status, reason
