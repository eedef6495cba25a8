"""The scaled Broyden class on the inverse Hessian itself, slow and obvious: an oracle for the tests."""

from __future__ import annotations

import numpy as np


def next_inverse_hessian(variant: str, H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return H after one update, by the published formulas and a matrix inverse."""
    n = len(s)
    sy, Hy = s @ y, H @ y
    b = s @ np.linalg.solve(H, s) / sy
    h = y @ Hy / sy
    a = b * h - 1
    theta, tau = 0.0, 1.0
    if variant == "ssbfgs":
        tau = min(1.0, 1 / b)
    if variant == "ssbroyden":
        c = np.sqrt(a / (1 + a))
        rho_minus = min(1.0, h * (1 - c))
        theta_minus, theta_plus = (rho_minus - 1) / a, 1 / rho_minus
        theta = max(theta_minus, min(theta_plus, (1 - b) / b))
        sigma = 1 + a * theta
        rho_plus = min(1.0, 1 / b)
        power = sigma ** (1 / (1 - n))
        tau = rho_plus * min(power, 1 / theta) if theta > 0 else min(rho_plus * power, sigma)
    phi = (1 - theta) / (1 + a * theta)
    v = s / sy - Hy / (y @ Hy)
    inner = H - np.outer(Hy, Hy) / (y @ Hy) + phi * (y @ Hy) * np.outer(v, v)
    return inner / tau + np.outer(s, s) / sy


def bfgs(H: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return H after one BFGS update, in the form of Nocedal and Wright (2006), equation 6.17."""
    left = np.eye(len(s)) - np.outer(s, y) / (s @ y)
    return left @ H @ left.T + np.outer(s, s) / (s @ y)
