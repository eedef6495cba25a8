"""Hessian products of a function that knows its gradient only, such as a plain closure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from homestretch import vectors
from homestretch.directions.base import Point
from homestretch.objective.products.swapping import difference_step, moved
from homestretch.vectors import Vector


class GradientDifferences:
    r"""Central differences :math:`(\nabla f(\theta + h v) - \nabla f(\theta - h v)) / 2h`, two gradients a product.

    Exact to about the rounding unit to the power 2/3. Parameters and gradients are put back as they were.

    Args:
        point: The point.
        parameters: The parameters as the optimizer knows them, whose ``.grad`` the function fills.
    """

    def __init__(self, point: Point, parameters: Sequence[Tensor]) -> None:
        self._point = point
        self._parameters = parameters

    def __call__(self, vector: Vector) -> Vector:
        """The Hessian at the point times ``vector``."""
        groups = self._point.groups
        if not vectors.max_abs(vector, groups):
            return vectors.zeros_like(vector)
        held = [p.grad for p in self._parameters]
        step = difference_step(self._point.parameters, vector, groups)
        try:
            product = self._gradient(vector, step)
            vectors.add_(product, self._gradient(vector, -step), -1.0)
        finally:
            for p, g in zip(self._parameters, held, strict=True):
                p.grad = g
        vectors.scale_(product, 0.5 / step)
        return product

    def _gradient(self, vector: Vector, step: float) -> Vector:
        for p in self._parameters:
            p.grad = None  # the function then makes new tensors, and those of the point stay as they are
        with moved(self._point.parameters, vector, step):
            self._point.function()
            return [
                torch.zeros_like(t) if p.grad is None else vectors.local(p.grad).clone()
                for p, t in zip(self._parameters, self._point.parameters, strict=True)
            ]
