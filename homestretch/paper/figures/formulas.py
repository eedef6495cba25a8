r"""What the paper's figures 1 to 4 show, as numbers: each function returns rows ready to be drawn and kept.

The formulas are the source's (Hrycej et al., 2025); ranges and grids, which are not printed, are ours. Figure 3's function is
ours too, as the source only sketches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SPLITS", "Descent2D", "basins", "descent_2d", "one_parameter_losses", "well"]

SPLITS = (0.40, 0.45, 0.50, 0.55, 0.60)
"""The constants C of figure 4."""
_UNITS = 100
Rows = list[dict[str, float]]


def one_parameter_losses(seed: int = 0, models: int = 5, reach: float = 20.0, points: int = 801) -> Rows:
    r"""Figures 1 and 2: :math:`L(p) = (\sum_{i=1}^{100} \tanh(p x_i) - r)^2` of random models, with :math:`|dL/dp|`.

    Each model draws :math:`r \sim U(0, 1)` and :math:`x_i \sim U(-0.5, 0.5)`.

    Args:
        seed: Seed of the draws.
        models: How many.
        reach: The parameter runs from ``-reach`` to ``reach``.
        points: Values of the parameter.

    Returns:
        Rows of ``model``, ``p``, ``loss`` and ``gradient_norm``.
    """
    generator = torch.Generator().manual_seed(seed)
    p = torch.linspace(-reach, reach, points, dtype=torch.float64)
    rows: Rows = []
    for model in range(1, models + 1):
        target = torch.rand((), generator=generator, dtype=torch.float64)
        x = torch.rand(_UNITS, generator=generator, dtype=torch.float64) - 0.5
        values = torch.tanh(p[:, None] * x)
        residual = values.sum(1) - target
        slope = 2.0 * residual * (x * (1.0 - values.square())).sum(1)
        for point, loss, norm in zip(p.tolist(), residual.square().tolist(), slope.abs().tolist(), strict=True):
            rows.append({"model": float(model), "p": point, "loss": loss, "gradient_norm": norm})
    return rows


def well(points: Tensor) -> tuple[Tensor, Tensor]:
    r"""A well that is convex near its minimum and not outside: :math:`f = 1 - e^{-q/2}`, :math:`q = x^2 + 4 y^2`.

    Its Hessian is positive definite exactly where :math:`q < 1`: with :math:`A = \mathrm{diag}(1, 4)` it is
    :math:`e^{-q/2} (A - A v v^\top A)`, and :math:`v^\top A v = q`.

    Args:
        points: Shape ``(..., 2)``.

    Returns:
        Values of shape ``(...)`` and gradients of shape ``(..., 2)``.
    """
    scale = torch.tensor([1.0, 4.0], dtype=points.dtype)
    decay = torch.exp(-0.5 * (scale * points.square()).sum(-1))
    return 1.0 - decay, decay.unsqueeze(-1) * scale * points


@dataclass(frozen=True)
class Descent2D:
    """Figure 3: level curves and a descent across them.

    Attributes:
        x: Grid along the first coordinate.
        y: Grid along the second.
        values: The function on the grid, shape ``(len(y), len(x))``.
        path: Rows of ``step``, ``x``, ``y``, ``loss``, ``gradient_norm`` and ``convex`` (1 inside the convex region).
    """

    x: Tensor
    y: Tensor
    values: Tensor
    path: Rows


def descent_2d(start: Sequence[float] = (-2.2, 0.9), rate: float = 0.25, steps: int = 40, points: int = 121) -> Descent2D:
    """Gradient descent in :func:`well` from outside its convex region.

    Args:
        start: Where it begins.
        rate: Step along the negative gradient.
        steps: How many.
        points: Grid points along each coordinate.
    """
    x = torch.linspace(-2.6, 2.6, points, dtype=torch.float64)
    y = torch.linspace(-1.4, 1.4, points, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    position = torch.tensor(start, dtype=torch.float64)
    path: Rows = []
    for step in range(steps + 1):
        loss, gradient = well(position)
        inside = float(position[0] ** 2 + 4.0 * position[1] ** 2) < 1.0
        place = {"x": float(position[0]), "y": float(position[1])}
        path.append(
            {"step": step, **place, "loss": float(loss), "gradient_norm": float(gradient.norm()), "convex": float(inside)}
        )
        position = position - rate * gradient
    return Descent2D(x, y, well(grid)[0], path)


def basins(constants: Sequence[float] = SPLITS, reach: float = 1.5, points: int = 601) -> Rows:
    r"""Figure 4: the loss :math:`y^2` of :math:`y = \tanh(h) + C \tanh(-2h)`, :math:`h = \tanh(x)`, for several C.

    The source does not print the target; we take 0. At C = 1/2 the slope of y at 0, which is 1 - 2 C, changes its sign: the
    one basin splits into three.

    Args:
        constants: The values of C.
        reach: x runs from ``-reach`` to ``reach``.
        points: Values of x.

    Returns:
        Rows of ``C``, ``x`` and ``loss``.
    """
    x = torch.linspace(-reach, reach, points, dtype=torch.float64)
    h = torch.tanh(x)
    return [
        {"C": c, "x": position, "loss": loss}
        for c in constants
        for position, loss in zip(x.tolist(), (torch.tanh(h) + c * torch.tanh(-2.0 * h)).square().tolist(), strict=True)
    ]
