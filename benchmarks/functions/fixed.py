"""Residuals of the test functions whose number of unknowns is fixed (or at most 12).

Source: J. More, B. Garbow, K. Hillstrom, "Testing Unconstrained Optimization Software", ACM Transactions on
Mathematical Software 7 (1981), section 3; the number in each docstring is the function's number there. Every function
takes x of shape (n,) and returns all m residuals at once, shape (m,).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from benchmarks.functions import data
from benchmarks.functions.problem import counting


def freudenstein_roth(x: Tensor) -> Tensor:
    """(2) Two cubics; n = m = 2."""
    a, b = x.unbind()
    return torch.stack((a + ((5 - b) * b - 2) * b - 13, a + ((b + 1) * b - 14) * b - 29))


def powell_badly_scaled(x: Tensor) -> Tensor:
    """(3) 10^4 a b = 1 and exp(-a) + exp(-b) = 1.0001; n = m = 2."""
    a, b = x.unbind()
    return torch.stack((1e4 * a * b - 1, (-a).exp() + (-b).exp() - 1.0001))


def brown_badly_scaled(x: Tensor) -> Tensor:
    """(4) Solution (10^6, 2 10^-6); n = 2, m = 3."""
    a, b = x.unbind()
    return torch.stack((a - 1e6, b - 2e-6, a * b - 2))


def beale(x: Tensor) -> Tensor:
    """(5) y_i - a (1 - b^i); n = 2, m = 3."""
    a, b = x.unbind()
    powers = torch.stack((b, b * b, b * b * b))
    return data.BEALE - a * (1 - powers)


def jennrich_sampson(x: Tensor) -> Tensor:
    """(6) 2 + 2i - exp(i a) - exp(i b); n = 2, m = 10."""
    i = counting(10)
    return 2 + 2 * i - torch.exp(i[:, None] * x).sum(dim=1)


def helical_valley(x: Tensor) -> Tensor:
    """(7) A valley along a helix; n = m = 3. The angle is counted in turns from -1/4 to 3/4."""
    a, b, c = x.unbind()
    turn = torch.atan2(b, a) / (2 * math.pi)
    turn = turn + ((a < 0) & (b < 0)).to(turn.dtype)
    return torch.stack((10 * (c - 10 * turn), 10 * (torch.hypot(a, b) - 1), c))


def bard(x: Tensor) -> Tensor:
    """(8) y_i - a - u_i / (v_i b + w_i c), u = i, v = 16 - i, w = min(u, v); n = 3, m = 15."""
    a, b, c = x.unbind()
    u = counting(15)
    v = 16 - u
    return data.BARD - a - u / (v * b + torch.minimum(u, v) * c)


def gaussian(x: Tensor) -> Tensor:
    """(9) a exp(-b (t_i - c)^2 / 2) - y_i, t_i = (8 - i) / 2; n = 3, m = 15."""
    a, b, c = x.unbind()
    t = (8 - counting(15)) / 2
    return a * torch.exp(-b * (t - c).square() / 2) - data.GAUSSIAN


def meyer(x: Tensor) -> Tensor:
    """(10) a exp(b / (t_i + c)) - y_i, t_i = 45 + 5 i; n = 3, m = 16."""
    a, b, c = x.unbind()
    return a * torch.exp(b / (45 + 5 * counting(16) + c)) - data.MEYER


@cache
def _gulf_times() -> tuple[Tensor, Tensor]:
    t = counting(99) / 100
    return t, 25 + (-50 * t.log()) ** (2 / 3)


def gulf(x: Tensor) -> Tensor:
    """(11) exp(-|y_i - b|^c / a) - t_i, t_i = i / 100, y_i = 25 + (-50 ln t_i)^(2/3); n = 3, m = 99.

    The printed formula has a misprint inside the modulus; this is the form its solution (50, 25, 1.5) belongs to.
    """
    a, b, c = x.unbind()
    t, y = _gulf_times()
    return torch.exp(-((y - b).abs() ** c) / a) - t


def box(x: Tensor) -> Tensor:
    """(12) exp(-t a) - exp(-t b) - c (exp(-t) - exp(-10 t)), t_i = i / 10; n = 3, m = 10."""
    a, b, c = x.unbind()
    t = counting(10) / 10
    return torch.exp(-t * a) - torch.exp(-t * b) - c * (torch.exp(-t) - torch.exp(-10 * t))


def kowalik_osborne(x: Tensor) -> Tensor:
    """(15) y_i - a (u^2 + u b) / (u^2 + u c + d); n = 4, m = 11."""
    a, b, c, d = x.unbind()
    u = data.KOWALIK_U
    return data.KOWALIK_Y - a * u * (u + b) / (u * (u + c) + d)


def brown_dennis(x: Tensor) -> Tensor:
    """(16) (a + t b - exp t)^2 + (c + d sin t - cos t)^2, t_i = i / 5; n = 4, m = 20."""
    a, b, c, d = x.unbind()
    t = counting(20) / 5
    return (a + t * b - t.exp()).square() + (c + d * t.sin() - t.cos()).square()


def osborne_1(x: Tensor) -> Tensor:
    """(17) y_i - a - b exp(-t d) - c exp(-t e), t_i = 10 (i - 1); n = 5, m = 33."""
    a, b, c, d, e = x.unbind()
    t = 10 * (counting(33) - 1)
    return data.OSBORNE_1 - a - b * torch.exp(-t * d) - c * torch.exp(-t * e)


def biggs_exp6(x: Tensor) -> Tensor:
    """(18) c exp(-t a) - d exp(-t b) + f exp(-t e) - y(t), t_i = i / 10; n = 6, m = 13."""
    a, b, c, d, e, f = x.unbind()
    t = counting(13) / 10
    y = torch.exp(-t) - 5 * torch.exp(-10 * t) + 3 * torch.exp(-4 * t)
    return c * torch.exp(-t * a) - d * torch.exp(-t * b) + f * torch.exp(-t * e) - y


def osborne_2(x: Tensor) -> Tensor:
    """(19) A decay and three Gaussian bumps, t_i = (i - 1) / 10; n = 11, m = 65."""
    t = (counting(65) - 1) / 10
    heights, decay, widths, centres = x[:4], x[4], x[5:8], x[8:]
    bumps = torch.exp(-(t[:, None] - centres).square() * widths)
    return data.OSBORNE_2 - heights[0] * torch.exp(-t * decay) - bumps @ heights[1:]


@cache
def _watson_powers(n: int) -> tuple[Tensor, Tensor]:
    t = counting(29)[:, None] / 29
    j = counting(n)
    # The derivative's first column is zero: (j - 1) t^(j - 2) at j = 1.
    return t ** (j - 1), (j - 1) * t ** (j - 2)


def watson(x: Tensor) -> Tensor:
    """(20) p'(t_i) - p(t_i)^2 - 1 for the polynomial p = sum_j x_j t^(j-1), t_i = i / 29; n <= 31, m = 31."""
    powers, derivatives = _watson_powers(x.numel())
    inner = derivatives @ x - (powers @ x).square() - 1
    return torch.cat((inner, x[:1], (x[1] - x[0].square() - 1).reshape(1)))
