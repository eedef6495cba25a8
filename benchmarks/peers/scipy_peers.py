"""SciPy's minimisers, with tolerances of zero so that nothing but their own line search stops them early."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from benchmarks.peers.meter import Meter

FOREVER = 10**9
OPTIONS: dict[str, dict[str, float]] = {
    "CG": {"gtol": 0.0, "maxiter": FOREVER},
    "BFGS": {"gtol": 0.0, "maxiter": FOREVER},
    "L-BFGS-B": {"gtol": 0.0, "ftol": 0.0, "maxiter": FOREVER, "maxfun": FOREVER},
    "Newton-CG": {"xtol": 0.0, "maxiter": FOREVER},
}


class NumpyObjective:
    """f, gradient and Hessian products for SciPy, each paid once.

    The graph of the last point is kept: a gradient asked for where f is known costs the backward pass only, so SciPy
    pays 1/3 for a trial it rejects by its value and 1 for a whole evaluation, like everyone else.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._x: Tensor | None = None
        self._loss: Tensor | None = None
        self._curved_x: Tensor | None = None
        self._curved_gradient: Tensor | None = None

    def value(self, x: np.ndarray) -> float:
        """Return f(x)."""
        self._x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        self._loss = self.meter.loss(self._x)
        return self._loss.item()

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Return the gradient at x, shape (n,)."""
        if self._loss is None or not _same(self._x, x):
            self.value(x)
        assert self._loss is not None
        assert self._x is not None
        (gradient,) = torch.autograd.grad(self._loss, self._x)
        self._loss = None
        return gradient.numpy()

    def product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the Hessian at x times v, shape (n,)."""
        self.meter.count_product()
        if not _same(self._curved_x, x):
            self._curved_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            loss = self.meter.problem.loss(self._curved_x)
            (self._curved_gradient,) = torch.autograd.grad(loss, self._curved_x, create_graph=True)
        assert self._curved_gradient is not None
        assert self._curved_x is not None
        direction = torch.tensor(v, dtype=torch.float64)
        (product,) = torch.autograd.grad(self._curved_gradient, self._curved_x, direction, retain_graph=True)
        return product.numpy()


def _same(known: Tensor | None, x: np.ndarray) -> bool:
    return known is not None and np.array_equal(known.detach().numpy(), x)


def run_scipy(meter: Meter, method: str) -> str:
    """Run `scipy.optimize.minimize` once and return its own words on why it stopped."""
    objective = NumpyObjective(meter)
    result = minimize(
        objective.value,
        meter.start().numpy(),
        jac=objective.gradient,
        hessp=objective.product if method == "Newton-CG" else None,
        method=method,
        options=OPTIONS[method],
        callback=meter.tick,
    )
    return str(result.message)
