"""Burgers' equation by a physics-informed network in plain PyTorch: Adam first, then a self-scaled Broyden home stretch.

`u_t + u u_x = (0.01 / pi) u_xx` for x in [-1, 1], t in [0, 1]; `u = -sin(pi x)` at t = 0 and `u = 0` at both ends.
Run it: `python examples/burgers.py` (about a minute), or with `--quick` for a few seconds.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

from homestretch import Box, LeastSquares, ResidualRedraw, SelfScaledBroyden

VISCOSITY = 0.01 / torch.pi


def residuals(net: nn.Module, points: dict[str, Tensor]) -> dict[str, Tensor]:
    inner = points["equation"].detach().requires_grad_()
    with torch.enable_grad():  # derivatives in x and t are needed where the loss alone is evaluated, too
        u = net(inner)
        u_x, u_t = torch.autograd.grad(u.sum(), inner, create_graph=True)[0].T
        u_xx = torch.autograd.grad(u_x.sum(), inner, create_graph=True)[0][:, 0]
    start = net(points["start"]) + torch.sin(torch.pi * points["start"][:, :1])
    return {"equation": u_t + u[:, 0] * u_x - VISCOSITY * u_xx, "start": start, "ends": net(points["ends"])}


def points(domain: Box, count: int) -> dict[str, Tensor]:
    """Inner points at random, and fixed ones on the border."""
    x, t = torch.linspace(-1, 1, 200), torch.linspace(0, 1, 100)
    border = {"start": torch.cartesian_prod(x, t[:1]), "ends": torch.cartesian_prod(x[[0, -1]], t)}
    return {"equation": domain(count, torch.Generator().manual_seed(0)), **border}


def exact(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The Cole-Hopf formula (Cole, 1951) by Gauss-Hermite quadrature."""
    z, weights = np.polynomial.hermite.hermgauss(100)
    y = x[:, None, None] - np.sqrt(4 * VISCOSITY * t)[:, None] * z
    exponent = -np.cos(np.pi * y) / (2 * np.pi * VISCOSITY)
    kernel = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)


def main(quick: bool = False) -> tuple[float, float]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)  # a convex phase ends where rounding begins: float64 is worth it
    net = nn.Sequential(
        nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1)
    )
    count = 800 if quick else 2500
    domain = Box([-1.0, 0.0], [1.0, 1.0])
    rules = {"equation": ResidualRedraw(domain, every=300)}  # new points now and then, most where the residual is large
    weights = {"start": 5.0, "ends": 5.0}
    objective = LeastSquares(residuals, net, points(domain, count), weights=weights, redraw=rules)
    x, t = np.linspace(-1, 1, 201), np.linspace(0, 1, 51)
    truth, grid = torch.tensor(exact(x, t)), torch.cartesian_prod(torch.tensor(x), torch.tensor(t))

    def error() -> float:
        with torch.no_grad():
            return float((net(grid).view_as(truth) - truth).norm() / truth.norm())

    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(50 if quick else 800):
        adam.step(objective)
    before = error()
    print(f"after Adam:        loss {objective.loss():.2e}, relative L2 error {before:.2e}")

    optimizer = SelfScaledBroyden(net.parameters())
    for _ in range(2 if quick else 6):
        loss = optimizer.minimize(objective, iterations=20 if quick else 300)
        print(f"iteration {optimizer.scalars['iteration']:4d}:    loss {loss:.2e}, relative L2 error {error():.2e}")
    print(f"after homestretch: relative L2 error {error():.2e}; {optimizer.stop_reason or 'the iterations are used up'}")
    return before, error()


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
