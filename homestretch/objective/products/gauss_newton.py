r"""Gauss-Newton products :math:`G v = J^T H_z J v`: J is the Jacobian of the outputs z, :math:`H_z` the loss's Hessian in z.

For a loss that is convex in the outputs G is positive semidefinite (N. Schraudolph, "Fast curvature matrix-vector products for
second-order gradient descent", Neural Computation 14 (2002)). :math:`J v` is made in the cheapest way that works:

- **forward**: a tangent along v goes with the outputs' forward pass;
- **reverse**: :math:`J^T u` is linear in u, so its derivative in u along v is :math:`J v`: two backward passes;
- **differences**: :math:`(z(\theta + h v) - z(\theta - h v)) / 2h`, exact to about the rounding unit to the power 2/3.

:math:`H_z` acts by double backward of the loss alone, :math:`J^T` by a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from homestretch import vectors
from homestretch.errors import UnsupportedError
from homestretch.objective.products.choosing import Chooser
from homestretch.objective.products.hessian import refuse_frozen
from homestretch.objective.products.swapping import difference_step, moved, smooth_kernels, tangents
from homestretch.vectors import Vector

Outputs = Callable[[], Tensor]
Curvature = Callable[[Tensor, Tensor], Tensor]
Push = Callable[[Outputs, Vector], tuple[Tensor, Tensor]]

FORWARD = "forward"
REVERSE = "reverse"


class GaussNewtonProduct:
    """Products with the Gauss-Newton matrix of functions of a fixed set of parameters.

    Args:
        parameters: The parameters.
        model: The module that holds them, which the forward mode needs; ``None`` if there is none.

    Attributes:
        choice: Which way is taken, and why others are not.
    """

    def __init__(self, parameters: Sequence[Tensor], model: nn.Module | None = None) -> None:
        self.choice = Chooser()
        self._parameters = list(parameters)
        self._model = model

    def __call__(self, outputs: Outputs, curvature: Curvature, vector: Vector) -> Vector:
        """The product with ``vector``.

        Args:
            outputs: Evaluates the outputs z at the parameters where they are, differentiable.
            curvature: Maps ``(z, J v)``, z detached, to :math:`H_z J v`.
            vector: v.

        Raises:
            UnsupportedError: If a parameter was frozen, or the outputs are not one tensor.
        """
        refuse_frozen(self._parameters)
        if not any(bool(v.any()) for v in vector):
            self.choice.tries = 0
            return vectors.zeros_like(self._parameters)  # nothing to choose a way by
        pushes = {REVERSE: self._reverse}
        if self._model is not None:  # only a module's parameters can be replaced by ones with tangents
            pushes = {FORWARD: self._forward, **pushes}

        def way(push: Push) -> Callable[[], Vector]:
            return lambda: self._pulled(*push(outputs, vector), curvature)

        with torch.enable_grad(), smooth_kernels():
            return self.choice({name: way(push) for name, push in pushes.items()}, way(self._differences))

    def _pulled(self, z: Tensor, image: Tensor, curvature: Curvature) -> Vector:
        """:math:`J^T H_z` times ``image``; z comes with its graph."""
        if not z.requires_grad:
            return vectors.zeros_like(self._parameters)
        pulled = torch.autograd.grad(z, self._parameters, curvature(z.detach(), image), allow_unused=True)
        return [torch.zeros_like(p) if t is None else t for p, t in zip(self._parameters, pulled, strict=True)]

    def _forward(self, outputs: Outputs, vector: Vector) -> tuple[Tensor, Tensor]:
        assert self._model is not None
        with tangents(self._model, self._parameters, vector):
            z, tangent = forward_ad.unpack_dual(_tensor(outputs()))
        # The level is closed before the backward pass, which would carry tangents through otherwise.
        return z, torch.zeros_like(z) if tangent is None else tangent.detach()

    def _reverse(self, outputs: Outputs, vector: Vector) -> tuple[Tensor, Tensor]:
        z = _tensor(outputs())
        if not z.requires_grad:
            return z, torch.zeros_like(z)
        u = torch.zeros_like(z, requires_grad=True)
        pulled = torch.autograd.grad(z, self._parameters, u, create_graph=True, allow_unused=True)
        linear = [(g, v) for g, v in zip(pulled, vector, strict=True) if g is not None and g.requires_grad]
        gs, vs = zip(*linear, strict=True)
        (image,) = torch.autograd.grad(gs, u, vs, retain_graph=True)
        return z, image

    def _differences(self, outputs: Outputs, vector: Vector) -> tuple[Tensor, Tensor]:
        step = difference_step(self._parameters, vector)
        with torch.no_grad():
            with moved(self._parameters, vector, step):
                ahead = _tensor(outputs())
            with moved(self._parameters, vector, -step):
                behind = _tensor(outputs())
        return _tensor(outputs()), (ahead - behind) / (2.0 * step)


def output_curvature(loss: Callable[[Tensor], Tensor]) -> Curvature:
    """:math:`H_z` of a loss of the outputs, by double backward."""

    def curvature(z: Tensor, image: Tensor) -> Tensor:
        z = z.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z), z, create_graph=True)
        if not gradient.requires_grad:
            return torch.zeros_like(z)  # the loss is linear in the outputs
        return torch.autograd.grad(gradient, z, image)[0]

    return curvature


def _tensor(outputs: object) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise UnsupportedError(
            f"Gauss-Newton products need outputs that are one tensor, got {type(outputs).__name__}: return one tensor from "
            "`compute` and read it inside `loss`, or use NewtonCG"
        )
    return outputs
