"""A Poisson problem in DeepXDE: its own L-BFGS and a homestretch method, from the same network, at the same counted cost.

`-lap u = 2 pi^2 sin(pi x) sin(pi y)` on the unit square, `u = 0` on its border.
Run it: `python examples/poisson_deepxde.py` (about a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import copy
import sys
import time

import numpy as np
import torch

from homestretch import SelfScaledBroyden
from homestretch.integrations.deepxde import HomeStretch, deepxde


def equation(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    curvature = deepxde.grad.hessian(u, x, i=0, j=0) + deepxde.grad.hessian(u, x, i=1, j=1)
    return curvature + 2 * np.pi**2 * torch.sin(np.pi * x[:, :1]) * torch.sin(np.pi * x[:, 1:])


def exact(x: np.ndarray) -> np.ndarray:
    return np.sin(np.pi * x[:, :1]) * np.sin(np.pi * x[:, 1:])


def main(quick: bool = False) -> tuple[float, float]:
    deepxde.config.set_random_seed(0)
    deepxde.config.set_default_float("float64")
    square = deepxde.geometry.Rectangle([0, 0], [1, 1])
    border = deepxde.icbc.DirichletBC(square, lambda x: 0.0, lambda _, on_boundary: on_boundary)
    data = deepxde.data.PDE(square, equation, border, num_domain=1200, num_boundary=120)
    model = deepxde.Model(data, deepxde.nn.FNN([2, 32, 32, 1], "tanh", "Glorot normal"))
    grid = square.uniform_points(2500)

    def error() -> float:
        return float(np.linalg.norm(model.predict(grid) - exact(grid)) / np.linalg.norm(exact(grid)))

    model.compile("adam", lr=3e-3, verbose=0)
    model.train(iterations=50 if quick else 1000, display_every=10**6, verbose=0)
    before, weights, started = error(), copy.deepcopy(model.net.state_dict()), time.perf_counter()
    print(f"after Adam:        relative L2 error {before:.1e}")

    options = deepxde.optimizers.config.LBFGS_options
    options["maxiter"] = options["iter_per_step"] = 60 if quick else 1000
    model.compile("L-BFGS", verbose=0)
    model.train(verbose=0)
    spent = model.opt.state_dict()["state"][0]["func_evals"]
    print(f"DeepXDE's L-BFGS:  relative L2 error {error():.1e}, {spent} evaluations, {time.perf_counter() - started:.0f} s")

    model.net.load_state_dict(weights)
    started = time.perf_counter()
    # model.compile("L-BFGS")
    # model.train()
    model.compile(SelfScaledBroyden(model.net.parameters(), budget=spent), verbose=0)
    model.train(iterations=10**6, display_every=10**6, callbacks=[HomeStretch()], verbose=0)
    after = error()
    print(f"after homestretch: relative L2 error {after:.1e}, {time.perf_counter() - started:.0f} s")
    return before, after


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
