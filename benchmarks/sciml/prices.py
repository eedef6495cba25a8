"""What the dense work of our methods takes beside a gradient, measured, and the fixed price of the same work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.sciml import make_problem
from benchmarks.sciml.ours import UPDATE_FLOPS
from homestretch import LeastSquares, vectors
from homestretch.cost import FORWARD, GAUSS_NEWTON_PRODUCT, GRADIENT, HESSIAN_PRODUCT
from homestretch.directions.broyden_updates import update_root_

COLUMNS = ("problem", "residuals", "parameters", "work", "price", "measured")


def prices(name: str, *, compiled: bool = True) -> list[dict[str, Any]]:
    """Return a row for every kind of work on a problem, in gradient-equivalents; without ``compiled`` no compiler is needed."""
    problem = make_problem(name)
    objective = problem.least_squares()
    n, unit = problem.size, objective.flops_per_gradient
    vector = vectors.clone(vectors.locals_of(objective.parameters))
    jacobian = objective.jacobian()
    count = len(jacobian)
    damped = jacobian.T @ jacobian + torch.eye(n, dtype=jacobian.dtype)
    before = objective.meter.gradient_equivalents
    objective.jacobian()
    jacobian_price = objective.meter.gradient_equivalents - before
    work: dict[str, tuple[float, Callable[[], Any]]] = {
        "forward": (FORWARD, objective.loss),
        "Hessian product": (HESSIAN_PRODUCT, lambda: objective.hessian_product(vector)),
        "Gauss-Newton product": (GAUSS_NEWTON_PRODUCT, lambda: objective.gauss_newton_product(vector)),
        "Jacobian": (jacobian_price, objective.jacobian),
        "normal equations": (2.0 * count * n * n / unit, lambda: jacobian.T @ jacobian),
        "Cholesky": (n**3 / 3.0 / unit, lambda: torch.linalg.cholesky_ex(damped)),
        "Broyden iteration": (UPDATE_FLOPS * n * n / unit, _broyden(damped)),
    }
    if compiled:
        other = LeastSquares(torch.compile(problem.terms), problem.module, problem.points, weights=problem.weights)
        work["gradient, residuals compiled"] = (GRADIENT, other)
    gradient = _seconds(objective)
    rows = []
    for label, (price, call) in work.items():
        row = {"problem": name, "residuals": count, "parameters": n, "work": label}
        rows.append({**row, "price": f"{price / GRADIENT:.3g}", "measured": f"{_seconds(call) / gradient:.3g}"})
    return rows


def _broyden(matrix: torch.Tensor) -> Callable[[], Any]:
    """One iteration's dense work: direction and update, on a matrix that stays as it is."""
    root = torch.eye(len(matrix), dtype=matrix.dtype)
    s = torch.linspace(0.5, 1.0, len(matrix), dtype=matrix.dtype)

    def call() -> None:
        pulled = torch.mv(root.T, s)
        torch.mv(root, pulled)
        update_root_(root, s, s, s, float(s @ s), "bfgs")

    return call


def _seconds(call: Callable[[], Any], least: float = 0.3) -> float:
    """Processor time of a call, after two that are not timed."""
    call(), call()
    began, calls = time.process_time(), 0
    while time.process_time() - began < least:
        call()
        calls += 1
    return (time.process_time() - began) / calls
