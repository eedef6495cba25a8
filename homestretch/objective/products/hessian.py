r"""Hessian-vector products of a scalar loss: :math:`H v = \nabla \langle \nabla f, v \rangle`.

Three ways, the cheapest that works is taken (B. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6
(1994), for the first two):

- **forward-over-reverse**: the gradient's backward pass with a tangent along v; no graph of the backward pass is kept;
- **reverse-over-reverse**: the backward pass of :math:`\langle \nabla f, v \rangle`;
- **differences**: :math:`(\nabla f(\theta + h v) - \nabla f(\theta - h v)) / 2h`, which needs nothing but gradients, and
  is exact to about the rounding unit to the power 2/3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from homestretch import vectors
from homestretch.errors import UnsupportedError
from homestretch.objective.products.choosing import Chooser, by_hand
from homestretch.objective.products.swapping import difference_step, moved, smooth_kernels, tangents
from homestretch.vectors import Vector

Loss = Callable[[], Tensor]

FORWARD_OVER_REVERSE = "forward-over-reverse"
REVERSE_OVER_REVERSE = "reverse-over-reverse"
_FINER = 0.125  # of the step, where differences are asked whether they depend on it


class HessianProduct:
    """Products with the Hessian of any loss of a fixed set of parameters.

    Args:
        parameters: The parameters.
        model: The module that holds them, which forward-over-reverse needs; ``None`` if there is none.

    Attributes:
        choice: Which way is taken, and why others are not.
    """

    def __init__(self, parameters: Sequence[Tensor], model: nn.Module | None = None) -> None:
        self.choice = Chooser()
        self._parameters = list(parameters)
        self._model = model

    def __call__(self, loss: Loss, vector: Vector) -> Vector:
        """The Hessian of ``loss`` times ``vector``; ``loss`` evaluates the parameters where they are.

        Raises:
            UnsupportedError: If a parameter was frozen.
        """
        refuse_frozen(self._parameters)
        if not any(bool(v.any()) for v in vector):
            self.choice.tries = 0
            return vectors.zeros_like(self._parameters)  # nothing to choose a way by
        exact = {REVERSE_OVER_REVERSE: lambda: self._reverse(loss, vector)}
        if self._model is not None:  # only a module's parameters can be replaced by ones with tangents
            exact = {FORWARD_OVER_REVERSE: lambda: self._forward(loss, vector), **exact}
        with torch.enable_grad(), smooth_kernels():
            return self.choice(exact, lambda: self._differences(loss, vector), lambda: self._differences(loss, vector, _FINER))

    def _forward(self, loss: Loss, vector: Vector) -> Vector:
        assert self._model is not None
        with tangents(self._model, self._parameters, vector) as duals:
            gradient = torch.autograd.grad(self._watched(loss), duals, allow_unused=True)
            found = [None if g is None else forward_ad.unpack_dual(g).tangent for g in gradient]
        return self._filled(found)

    def _reverse(self, loss: Loss, vector: Vector) -> Vector:
        gradient = torch.autograd.grad(self._watched(loss), self._parameters, create_graph=True, allow_unused=True)
        curved = [(g, v) for g, v in zip(gradient, vector, strict=True) if g is not None and g.requires_grad]
        if not curved:
            return vectors.zeros_like(self._parameters)
        outputs, seeds = zip(*curved, strict=True)
        return self._filled(torch.autograd.grad(outputs, self._parameters, seeds, allow_unused=True))

    def _watched(self, loss: Loss) -> Tensor:
        """The loss; while no way is chosen its graph tells whether the exact ones are in doubt."""
        value = loss()
        if not self.choice.mode:
            self.choice.doubtful = by_hand(value)
        return value

    def _differences(self, loss: Loss, vector: Vector, shorter: float = 1.0) -> Vector:
        step = shorter * difference_step(self._parameters, vector)
        sides = []
        for sign in (1.0, -1.0):
            with moved(self._parameters, vector, sign * step):
                sides.append(self._filled(torch.autograd.grad(loss(), self._parameters, allow_unused=True)))
        product = vectors.subtract(*sides)
        vectors.scale_(product, 0.5 / step)
        return product

    def _filled(self, tensors: Sequence[Tensor | None]) -> Vector:
        """Zeros where the loss does not depend on a parameter."""
        return [torch.zeros_like(p) if t is None else t.detach() for p, t in zip(self._parameters, tensors, strict=True)]


def refuse_sharded(parameters: Sequence[Tensor]) -> None:
    """Products need whole parameters.

    Raises:
        UnsupportedError: If some are sharded.
    """
    if any(hasattr(p, "to_local") for p in parameters):
        raise UnsupportedError(
            "curvature products need whole parameters, and these are sharded: use ConjugateGradient or LBFGS, which need "
            "gradients only"
        )


def refuse_frozen(parameters: Sequence[Tensor]) -> None:
    """Products differentiate by every parameter that the objective was made over.

    Raises:
        UnsupportedError: If one has been frozen since.
    """
    for index, p in enumerate(parameters):
        if not p.requires_grad:
            raise UnsupportedError(
                f"parameter {index} of shape {tuple(p.shape)} was frozen after the objective was made, and curvature products "
                "need its gradient: freeze first and make objective and optimizer anew, or set requires_grad again"
            )
