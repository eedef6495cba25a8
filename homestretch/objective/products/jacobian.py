r"""Rows of a Jacobian in pieces of bounded memory, by three ways.

- **per point**: where the i-th residuals depend on the i-th point alone, the gradients of all points are made side by side
  (``torch.func.vmap`` of ``grad``) at about the cost of one gradient. Whether they do is checked once, against a backward pass;
- **rows**: a backward pass through all residuals for every row, several at once;
- **columns**: :math:`J e_j` for every parameter, by a backward pass through the backward pass, several at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.objective.points import Points, count_points, over

ROWS = "rows"
COLUMNS = "columns"
PER_POINT = "per point"


def by_rows(residuals: Callable[[], Tensor], parameters: Sequence[Tensor], rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of ``rows`` residuals with their rows of the Jacobian, shapes (n,) and (n, P)."""
    with torch.enable_grad():
        rho = residuals()
    for start in range(0, len(rho), rows):
        stop = min(start + rows, len(rho))
        seeds = torch.zeros(stop - start, len(rho), dtype=rho.dtype, device=rho.device)
        seeds[:, start:stop].fill_diagonal_(1.0)
        pulled = torch.autograd.grad(rho, parameters, seeds, retain_graph=True, allow_unused=True, is_grads_batched=True)
        pieces = [
            rho.new_zeros(stop - start, p.numel()) if t is None else t.reshape(stop - start, -1)
            for t, p in zip(pulled, parameters, strict=True)
        ]
        yield rho[start:stop].detach(), torch.cat(pieces, 1)


def by_columns(residuals: Callable[[], Tensor], parameters: Sequence[Tensor], columns: int) -> tuple[Tensor, Tensor]:
    """All residuals and the whole Jacobian, shapes (N,) and (N, P), made ``columns`` parameters at a time."""
    with torch.enable_grad():
        rho = residuals()
        u = torch.zeros_like(rho, requires_grad=True)
        pulled = torch.autograd.grad(rho, parameters, u, create_graph=True, allow_unused=True, materialize_grads=True)
    size = vectors.size(parameters)
    jacobian = rho.new_zeros(len(rho), size)
    start = 0
    for gradient, parameter in zip(pulled, parameters, strict=True):
        if gradient.requires_grad:
            for first in range(0, parameter.numel(), columns):
                last = min(first + columns, parameter.numel())
                seeds = torch.zeros(last - first, parameter.numel(), dtype=rho.dtype, device=rho.device)
                seeds[:, first:last].fill_diagonal_(1.0)
                (piece,) = torch.autograd.grad(
                    gradient, u, seeds.view(-1, *parameter.shape), retain_graph=True, allow_unused=True, is_grads_batched=True
                )
                if piece is not None:  # derivatives of a network do not depend on its last bias, and yet are in its graph
                    jacobian[:, start + first : start + last] = piece.T
        start += parameter.numel()
    return rho.detach(), jacobian


def by_points(
    residual: Callable[[Sequence[Tensor], Points], Tensor], parameters: Sequence[Tensor], points: Points, rows: int, width: int
) -> Iterator[Tensor]:
    """Rows of the Jacobian of ``width`` residuals a point, shape (n * width, P), point by point.

    Args:
        residual: The residuals of one point (first dimension 1), shape (width,), as a function of parameters and the point.
        parameters: The parameters.
        points: All points.
        rows: Rows of a piece.
        width: Residuals of one point.
    """
    tensors = tuple(p.detach() for p in parameters)

    def single(values: tuple[Tensor, ...], point: Points) -> Tensor:
        return residual(values, over(point, lambda t: t.unsqueeze(0)))

    def scalar(values: tuple[Tensor, ...], point: Points) -> Tensor:
        return single(values, point)[0]

    rule = torch.func.grad(scalar) if width == 1 else torch.func.jacrev(single)
    batched = torch.func.vmap(rule, in_dims=(None, 0))
    count, step = count_points(points) or 0, max(rows // width, 1)
    for start in range(0, count, step):
        part = over(points, lambda t: t[start : start + step])  # noqa: B023 - called at once
        pieces = batched(tensors, part)
        number = min(step, count - start) * width
        yield torch.cat([t.reshape(number, -1) for t in pieces], 1)
