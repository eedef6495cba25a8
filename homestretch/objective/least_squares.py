r"""A weighted sum of mean squared residuals, the objective of curve fitting and of physics-informed networks.

With residual terms :math:`r_k` of :math:`n_k` entries and weights :math:`w_k`,

.. math:: f(\theta) = c \sum_k \frac{w_k}{n_k} \sum_{i=1}^{n_k} r_{k,i}(\theta)^2 = \|\rho(\theta)\|^2, \qquad
          \rho_{k,i} = \sqrt{c\, w_k / n_k}\; r_{k,i},

so the gradient is :math:`2 J^T \rho` and the Gauss-Newton matrix :math:`2 J^T J` with the Jacobian J of :math:`\rho`. With
``reduction="sum"`` the division by :math:`n_k` is left out; c is ``factor``, 1/2 for the half sum of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from homestretch import vectors
from homestretch.cost import CostMeter
from homestretch.errors import NondeterministicLossError
from homestretch.objective.base import describe
from homestretch.objective.products.residuals import ResidualProducts

_SINGLE = "residual"  # the name of the only term of a function that returns one tensor


class LeastSquares(ResidualProducts):
    """Sum of squared residuals of a model, usable as a torch closure.

    Example:
        >>> def residuals(model, points):
        ...     inner, border = points["equation"], points["border"]
        ...     _, curvature = laplacian(model, inner)
        ...     return {"equation": curvature + force(inner), "border": model(border)}
        >>> objective = LeastSquares(residuals, model, {"equation": inner, "border": border}, weights={"border": 10.0})

    Args:
        residuals: The residuals as one tensor or as tensors by name: ``residuals(model, points)`` if points are given, else
            ``residuals()``, closing over the model. Any shapes; with points the first dimension should count them.
        model: The module whose trainable parameters are optimised, or these parameters as a list.
        points: Where the residuals are taken: a tensor, or tuples, lists and dictionaries of tensors. A dictionary with
            the terms' names as keys gives each term its own points. Jacobians are then made point by point, at about the
            cost of a gradient, if the i-th entries of a term depend on its i-th point alone, which is checked.
        weights: Weight of each term, positive; 1 where none is given.
        reduction: ``"mean"`` or ``"sum"``, within each term.
        factor: A factor c before everything.
        jacobian_memory: Bytes that one piece of the Jacobian may take.
        flops_per_gradient: What dense algebra is priced by; by default 6 for each residual and parameter, as a dense network
            has it.
        meter: Where the cost is counted; a new one if not given.

    Attributes:
        parameters: The trainable parameters.
        last_terms: The loss of each term at the latest evaluation, weights included; their sum is the loss.
        version: Changes with every :meth:`redraw` and :meth:`reweight`.

    Raises:
        ValueError: If there is nothing to optimise or a number is out of range.
    """

    def __init__(
        self,
        residuals: Callable[..., Tensor | dict[str, Tensor]],
        model: nn.Module | Sequence[Tensor],
        points: Any = None,
        *,
        weights: Mapping[str, float] | None = None,
        reduction: str = "mean",
        factor: float = 1.0,
        jacobian_memory: float = 256e6,
        flops_per_gradient: float | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        for name, value in (("factor", factor), ("jacobian_memory", jacobian_memory), *(weights or {}).items()):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        module = model if isinstance(model, nn.Module) else None
        parameters = [p for p in (module.parameters() if module is not None else model) if p.requires_grad]  # type: ignore[union-attr]
        if not parameters:
            raise ValueError("model has no trainable parameters: set requires_grad on what is to be optimised")
        self.meter = meter or CostMeter()
        self.version = 0
        self.points = points
        self.last_terms: dict[str, float] = {}
        self._function = residuals
        self._weights = dict(weights or {})
        self._mean = reduction == "mean"
        self._factor = factor
        self._coefficients: dict[str, tuple[int, float]] = {}
        super().__init__(parameters, module, jacobian_memory, flops_per_gradient)

    @property
    def samples(self) -> int:
        """Number of residuals at the latest evaluation, over all terms."""
        return sum(size for size, _ in self._coefficients.values()) or len(self.stacked())

    def __call__(self) -> Tensor:
        """The loss as a 0-d float64 tensor; fills ``.grad`` of the parameters and of nothing else."""
        self.zero_grad()
        with torch.enable_grad():
            terms = self.term_tensors()
        # The seeds are the loss's derivatives in the residuals: no graph for the squares and their sum.
        seeds = [r.detach() * (2.0 * self._coefficient(name, r)) for name, r in terms.items()]
        total = self._add_up(terms)
        torch.autograd.backward(list(terms.values()), seeds, inputs=self.parameters)
        self.meter.count_gradient()
        return torch.tensor(total, dtype=torch.float64)

    def loss(self) -> float:
        """The loss by a forward pass only."""
        with torch.no_grad():
            total = self._add_up(self.term_tensors())
        self.meter.count_forward()
        return total

    def terms(self) -> dict[str, float]:
        """The loss of each term at the current parameters, weights included; their sum is the loss."""
        self.loss()
        return dict(self.last_terms)

    def redraw(self, points: Any) -> None:
        """Take the residuals at other points from now on; whoever minimises is told by :attr:`version`."""
        if self.points is None:
            raise ValueError("points cannot be redrawn: the residual function was given none, so it holds them itself")
        self.points = points
        self._changed()

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Change the weights of some terms."""
        for name, value in weights.items():
            if not 0.0 < value < math.inf:
                raise ValueError(f"weight of {name!r} must be positive and finite, got {value}")
        self._weights.update(weights)
        self._changed()

    def minibatches(self, epoch: int) -> Iterator[LeastSquares]:
        """The closures of one epoch: only this one, as all residuals are one batch."""
        yield self

    def zero_grad(self) -> None:
        """Drop all gradients of the trainable parameters."""
        for p in self.parameters:
            p.grad = None

    def check_deterministic(self) -> None:
        """Evaluate twice.

        Raises:
            NondeterministicLossError: If the two losses differ.
        """
        first, second = self.loss(), self.loss()
        if first != second and not (math.isnan(first) and math.isnan(second)):
            raise NondeterministicLossError(
                f"two evaluations of the residuals gave the losses {first!r} and {second!r}. The convex phase needs a fixed "
                "function: draw random points outside the residual function and hand them over by `redraw`"
            )

    def term_tensors(self) -> dict[str, Tensor]:
        """The residuals as the user's function returns them, by name, differentiable where gradients are enabled."""
        return self.evaluate(self.points)

    def evaluate(self, points: Any) -> dict[str, Tensor]:
        """The residuals of each term at ``points``, neither weighted nor scaled."""
        found = self._function() if points is None else self._function(self.model, points)
        if isinstance(found, Tensor):
            return {_SINGLE: found}
        if isinstance(found, dict) and found and all(isinstance(r, Tensor) for r in found.values()):
            return found
        raise TypeError(
            f"residuals {describe(self._function)} must return a tensor or a dictionary of tensors by name, got "
            f"{type(found).__name__}"
        )

    def scale(self, name: str, residual: Tensor) -> float:
        r""":math:`\sqrt{c\, w_k / n_k}`, what a residual is multiplied by in :math:`\rho`."""
        return math.sqrt(self._coefficient(name, residual))

    def _coefficient(self, name: str, residual: Tensor) -> float:
        size = residual.numel()
        known = self._coefficients.get(name)
        if known is not None and known[0] == size:
            return known[1]
        if not size:
            raise ValueError(f"the residual term {name!r} is empty: give it at least one point")
        value = self._factor * self._weights.get(name, 1.0) / (size if self._mean else 1)
        self._coefficients[name] = (size, value)
        return value

    def _add_up(self, terms: dict[str, Tensor]) -> float:
        if len(terms) < len(self._weights) or not self._weights.keys() <= terms.keys():
            unknown = sorted(self._weights.keys() - terms.keys())
            raise ValueError(f"weights name terms that the residual function does not return: {', '.join(unknown)}")
        values = {}
        for name, r in terms.items():
            flat = [r.detach()]
            values[name] = self._coefficient(name, r) * vectors.dot(flat, flat)
        self.last_terms = values
        return math.fsum(values.values())

    def _changed(self) -> None:
        self.version += 1
        self._coefficients.clear()
