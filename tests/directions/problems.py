"""Functions that several directions are tested on."""

from __future__ import annotations

import torch
from torch import nn

from homestretch import LeastSquares, Objective
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.products import HessianProduct


class Exact(ClosureFunction):
    """A function of one parameter with exact Hessian products."""

    def __init__(self, f, start):
        self.x = nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())
        self.parameters = [self.x]
        self._f = f
        self._product = HessianProduct(self.parameters)
        super().__init__(self._evaluate, self.parameters)

    def hessian_product(self, vector):
        self.meter.count_hessian_product(1.0)
        return self._product(lambda: self._f(self.x), vector)

    def _evaluate(self):
        loss = self._f(self.x)
        loss.backward()
        return loss


def convex(x):
    """Strongly convex, no quadratic, of condition number 1e3."""
    weights = torch.logspace(0, 3, x.numel(), dtype=x.dtype)
    return (weights * (torch.cosh(0.3 * x) + 0.1 * x)).sum() + (x[1:] - x[:-1]).square().sum()


def rosenbrock(x):
    return (100.0 * (x[1:] - x[:-1].square()).square() + (1.0 - x[:-1]).square()).sum()


def saddle(x):
    """Minima at (0, 1) and (0, -1), a saddle at the origin."""
    return 2.0 * x[0].square() - x[1].square() + 0.5 * x[1].pow(4)


def closure_of(f, start):
    """A parameter and a plain closure over it."""
    x = nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())

    def closure():
        x.grad = None
        with torch.enable_grad():
            loss = f(x)
            loss.backward()
        return loss

    return x, closure


def tanh_network(width, dtype=torch.float64, points=40):
    """A network of one hidden layer and the wave it is to fit: the model, inputs and targets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).to(dtype)
    x = torch.linspace(-1, 1, points, dtype=dtype).unsqueeze(1)
    return model, x, torch.sin(3.0 * x)


def network(dtype=torch.float64):
    """Its mean squared error as an objective over data."""
    model, x, t = tanh_network(6, dtype)
    return model, Objective(model, nn.functional.mse_loss, (x, t))


def regression(dtype=torch.float64, width=6, points=40):
    """The same as a sum of squares."""
    model, x, t = tanh_network(width, dtype, points)
    return model, LeastSquares(lambda net, data: net(data[0]) - data[1], model, (x, t))
