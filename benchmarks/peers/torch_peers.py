"""Peers built on torch: its own L-BFGS, pytorch-minimize, torchzero, ncg-optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.meter import Meter, TorchClosure

FOREVER = 10**9
PATIENCE = 50
"""Steps in a row that change nothing before an optimizer is taken to have stopped."""

MINIMIZE_OPTIONS: dict[str, dict[str, float]] = {
    "cg": {"gtol": 0.0},
    "bfgs": {"gtol": 0.0, "xtol": 0.0, "gtd_tol": 0.0},
    "l-bfgs": {"gtol": 0.0, "xtol": 0.0, "gtd_tol": 0.0},
    "newton-cg": {"xtol": 0.0},
    "trust-ncg": {"gtol": 0.0},
}


def run_optimizer(meter: Meter, make: Callable[[list[torch.nn.Parameter]], Any], closure: TorchClosure | None = None) -> str:
    """Call `step(closure)` of the optimizer that `make` returns until the meter halts it or it no longer moves."""
    closure = closure or TorchClosure(meter)
    optimizer = make([closure.parameter])
    still = 0
    while still < PATIENCE:
        before = closure.parameter.detach().clone()
        optimizer.step(closure)
        meter.tick()
        after = closure.parameter.detach()
        if not after.isfinite().all():
            return "the parameters are no longer finite"
        still = still + 1 if torch.equal(before, after) else 0
    return f"no change in {PATIENCE} steps"


def run_torch_lbfgs(meter: Meter) -> str:
    """Run `torch.optim.LBFGS`, strong Wolfe, zero tolerances, its history of 100 as it comes.

    One `step` makes up to 20 iterations, so these are read from its state.
    """
    made: list[torch.optim.LBFGS] = []

    def make(parameters: list[torch.nn.Parameter]) -> torch.optim.LBFGS:
        made.append(
            torch.optim.LBFGS(
                parameters, line_search_fn="strong_wolfe", tolerance_grad=0.0, tolerance_change=0.0, history_size=100
            )
        )
        return made[0]

    try:
        return run_optimizer(meter, make)
    finally:
        meter.iterations = sum(state.get("n_iter", 0) for state in made[0].state.values())


def run_pytorch_minimize(meter: Meter, method: str) -> str:
    """Run `torchmin.minimize` once, with zero tolerances."""
    from torchmin import minimize

    options = {**MINIMIZE_OPTIONS[method], "max_iter": FOREVER}
    result = minimize(meter.loss, meter.start(), method=method, options=options, callback=meter.tick)
    return str(result.message)


def run_torchzero(meter: Meter, method: str) -> str:
    """Run a torchzero direction under its `StrongWolfe`.

    L-BFGS takes the search as it comes; the conjugate gradients take the settings that its documentation advises for
    them, and its fallback to the best trial, without which they stand still at the first search that fails.
    """
    import torchzero as tz

    search: dict[str, Any] = {} if method == "LBFGS" else {"c2": 0.1, "a_init": "first-order", "fallback": True}

    def make(parameters: list[torch.nn.Parameter]) -> Any:
        return tz.Optimizer(parameters, getattr(tz.m, method)(), tz.m.StrongWolfe(**search))

    return run_optimizer(meter, make)


class GraphKeepingClosure(TorchClosure):
    """Returns the loss with its graph, for ncg-optimizer's Wolfe search: it differentiates what the closure returns."""

    def __call__(self, backward: bool = True) -> Tensor:
        """Return the loss, still differentiable, and fill the parameter's gradient."""
        self.counter.repeats_are_products = False
        with torch.enable_grad():
            self.parameter.grad = None
            loss = self.counter.loss(self.parameter)
            loss.backward(retain_graph=True)
        return loss


def run_ncg_optimizer(meter: Meter, **settings: str) -> str:
    """Run ncg-optimizer's `BASIC` with its stopping tolerance set to zero."""
    from ncg_optimizer import BASIC

    closure = GraphKeepingClosure(meter) if settings else TorchClosure(meter)
    return run_optimizer(meter, lambda parameters: BASIC(parameters, eps=0.0, **settings), closure)
