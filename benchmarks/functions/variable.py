"""Residuals of the test functions of any size, vectorised so that n = 10,000 is cheap.

Source and conventions as in `benchmarks.functions.fixed`. The sizes 2 and 4 of `rosenbrock`, `powell_singular` and
`wood` are functions 1, 13 and 14; larger multiples repeat them block by block (functions 21 and 22, and the customary
extended Wood function).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmarks.functions.problem import counting

PENALTY = math.sqrt(1e-5)


def rosenbrock(x: Tensor) -> Tensor:
    """(1, 21) 10 (b - a^2) and 1 - a in each pair; n even, m = n."""
    a, b = x.reshape(-1, 2).unbind(dim=1)
    return torch.stack((10 * (b - a.square()), 1 - a), dim=1).flatten()


def powell_singular(x: Tensor) -> Tensor:
    """(13, 22) Singular Hessian at the solution 0; n a multiple of 4, m = n."""
    a, b, c, d = x.reshape(-1, 4).unbind(dim=1)
    rows = (a + 10 * b, math.sqrt(5) * (c - d), (b - 2 * c).square(), math.sqrt(10) * (a - d).square())
    return torch.stack(rows, dim=1).flatten()


def wood(x: Tensor) -> Tensor:
    """(14) Two Rosenbrock valleys, coupled; n a multiple of 4, m = 6 n / 4."""
    a, b, c, d = x.reshape(-1, 4).unbind(dim=1)
    rows = (
        10 * (b - a.square()),
        1 - a,
        math.sqrt(90) * (d - c.square()),
        1 - c,
        math.sqrt(10) * (b + d - 2),
        (b - d) / math.sqrt(10),
    )
    return torch.stack(rows, dim=1).flatten()


def penalty_1(x: Tensor) -> Tensor:
    """(23) sqrt(1e-5) (x_i - 1) and |x|^2 - 1/4; m = n + 1."""
    return torch.cat((PENALTY * (x - 1), (torch.dot(x, x) - 0.25).reshape(1)))


@cache
def _penalty_2_constants(n: int) -> tuple[Tensor, Tensor]:
    grown = torch.exp(counting(n) / 10)
    return grown[1:] + grown[:-1], counting(n).flip(0)


def penalty_2(x: Tensor) -> Tensor:
    """(24) Exponentials against a weighted ball; m = 2 n. Beyond n of some hundreds exp(i / 10) leaves float64."""
    y, weights = _penalty_2_constants(x.numel())
    grown = torch.exp(x / 10)
    return torch.cat(
        (
            (x[0] - 0.2).reshape(1),
            PENALTY * (grown[1:] + grown[:-1] - y),
            PENALTY * (grown[1:] - math.exp(-0.1)),
            (torch.dot(weights, x.square()) - 1).reshape(1),
        )
    )


def variably_dimensioned(x: Tensor) -> Tensor:
    """(25) x_i - 1, s and s^2 with s = sum_j j (x_j - 1); m = n + 2."""
    shifted = x - 1
    s = torch.dot(counting(x.numel()), shifted).reshape(1)
    return torch.cat((shifted, s, s.square()))


def trigonometric(x: Tensor) -> Tensor:
    """(26) n - sum_j cos x_j + i (1 - cos x_i) - sin x_i; m = n."""
    n = x.numel()
    cosine = x.cos()
    return n - cosine.sum() + counting(n) * (1 - cosine) - x.sin()


def brown_almost_linear(x: Tensor) -> Tensor:
    """(27) x_i + sum_j x_j - (n + 1) for i < n, and prod_j x_j - 1; m = n."""
    return torch.cat((x[:-1] + x.sum() - (x.numel() + 1), (x.prod() - 1).reshape(1)))


def discrete_boundary_value(x: Tensor) -> Tensor:
    """(28) 2 x_i - x_(i-1) - x_(i+1) + h^2 (x_i + t_i + 1)^3 / 2 with zero ends, t_i = i h, h = 1 / (n + 1); m = n."""
    n = x.numel()
    h = 1 / (n + 1)
    wide = pad(x, (1, 1))
    return 2 * x - wide[:-2] - wide[2:] + h * h * (x + h * counting(n) + 1) ** 3 / 2


def discrete_integral_equation(x: Tensor) -> Tensor:
    """(29) x_i + h/2 [(1 - t_i) sum_(j<=i) t_j c_j + t_i sum_(j>i) (1 - t_j) c_j], c = (x + t + 1)^3; m = n."""
    n = x.numel()
    h = 1 / (n + 1)
    t = h * counting(n)
    cubes = (x + t + 1) ** 3
    upper = (1 - t) * cubes
    up_to = torch.cumsum(t * cubes, dim=0)
    beyond = upper.sum() - torch.cumsum(upper, dim=0)
    return x + h * ((1 - t) * up_to + t * beyond) / 2


def broyden_tridiagonal(x: Tensor) -> Tensor:
    """(30) (3 - 2 x_i) x_i - x_(i-1) - 2 x_(i+1) + 1 with zero ends; m = n."""
    wide = pad(x, (1, 1))
    return (3 - 2 * x) * x - wide[:-2] - 2 * wide[2:] + 1


def broyden_banded(x: Tensor) -> Tensor:
    """(31) x_i (2 + 5 x_i^2) + 1 - sum over the 5 before and the 1 after of x_j (1 + x_j); m = n."""
    term = x * (1 + x)
    window = pad(term, (5, 1)).unfold(0, 7, 1).sum(dim=1)
    return x * (2 + 5 * x.square()) + 1 - (window - term)


def linear_full_rank(x: Tensor) -> Tensor:
    """(32) x_i - (2 / m) sum_j x_j - 1, without x_i beyond n; m = 2 n."""
    n = x.numel()
    return pad(x, (0, n)) - x.sum() / n - 1


def linear_rank_1(x: Tensor) -> Tensor:
    """(33) i (sum_j j x_j) - 1; m = 2 n."""
    n = x.numel()
    return counting(2 * n) * torch.dot(counting(n), x) - 1


def linear_rank_1_zero(x: Tensor) -> Tensor:
    """(34) As (33), with the first and last rows and columns zero: (i - 1) sum_(1<j<n) j x_j - 1; m = 2 n."""
    n = x.numel()
    total = torch.dot(counting(n)[1:-1], x[1:-1])
    return pad((counting(2 * n)[1:-1] - 1) * total, (1, 1)) - 1


@cache
def _chebyshev_integrals(n: int) -> Tensor:
    i = counting(n)
    even = 1 - i % 2
    return torch.where(even.bool(), -1 / (i * i - 1).clamp(min=1), torch.zeros_like(i))


def chebyquad(x: Tensor) -> Tensor:
    """(35) Mean over j of T_i(x_j) less the integral of T_i over [0, 1], T_i the shifted Chebyshev polynomial; m = n.

    The recurrence over the degree is what keeps it exact outside [0, 1], where the arc cosine ends.
    """
    n = x.numel()
    z = 2 * x - 1
    polynomials = [torch.ones_like(z), z]
    for _ in range(n - 1):
        polynomials.append(2 * z * polynomials[-1] - polynomials[-2])
    return torch.stack(polynomials[1:]).mean(dim=1) - _chebyshev_integrals(n)
