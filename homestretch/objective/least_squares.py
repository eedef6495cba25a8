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

from homestretch import arguments, vectors
from homestretch.cost import CostMeter
from homestretch.errors import NondeterministicLossError, UnsupportedError
from homestretch.objective.base import describe, trainable
from homestretch.objective.collocation import Collocation
from homestretch.objective.determinism import layer_at_fault
from homestretch.objective.held_out import HeldOut
from homestretch.objective.points import Points
from homestretch.objective.redraw import Redraw
from homestretch.objective.weights import refuse_unknown, weights_by_name

_SINGLE = "residual"  # the name of the only term of a function that returns one tensor


class LeastSquares(Collocation):
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
        model: The module whose trainable parameters are optimised, or, without points, these parameters as a list.
        points: Where the residuals are taken: a tensor, or tuples, lists and dictionaries of tensors. A dictionary with
            the terms' names as keys gives each term its own points; the terms of a system may share a set of another name
            and of their length. Jacobians are then made point by point, at about the cost of a gradient, if the i-th entries
            of a term depend on its i-th point alone, which is checked.
        weights: Weight of each term, positive; 1 where none is given.
        reduction: ``"mean"`` or ``"sum"``, within each term.
        factor: A factor c before everything.
        redraw: A rule by which points are drawn anew every so many iterations (:mod:`homestretch.objective.redraw`), or rules
            by the names of the sets of points.
        held_out: Watch the residual at points that are not fitted: a fraction of the points, or a
            :class:`~homestretch.objective.held_out.HeldOut`, which may also stop the fit.
        seed: Decides draws and which points are held out.
        jacobian_memory: Bytes that one piece of the Jacobian may take.
        flops_per_gradient: What dense algebra is priced by; by default 6 for each residual and parameter, as a dense network
            has it.
        meter: Where the cost is counted; a new one if not given.

    Attributes:
        parameters: The trainable parameters.
        portion: The share of a gradient-equivalent that one evaluation costs, always 1.
        last_terms: The loss of each term at the latest evaluation, weights included; their sum is the loss.
        points: Where the residuals are taken now.
        version: Changes with every :meth:`redraw` and :meth:`reweight`; ``change`` says what happened.

    Raises:
        ValueError: If there is nothing to optimise or a number is out of range.
        TypeError: If points are given and the model is no module, the points are arrays of numpy's, or weights are no numbers.

    Warns:
        OverfitWarning: At the first gradient, if there are more parameters than residuals and the points are neither redrawn
            nor some held out.
    """

    portion = 1.0

    def __init__(
        self,
        residuals: Callable[..., Tensor | dict[str, Tensor]],
        model: nn.Module | Sequence[Tensor],
        points: Points = None,
        *,
        weights: Mapping[str, float] | None = None,
        reduction: str = "mean",
        factor: float = 1.0,
        redraw: Redraw | Mapping[str, Redraw] | None = None,
        held_out: HeldOut | float | None = None,
        seed: int = 0,
        jacobian_memory: float = 256e6,
        flops_per_gradient: float | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        arguments.positive("jacobian_memory", jacobian_memory)
        if not callable(residuals):
            raise TypeError(f"residuals must be a function of model and points, or of nothing, got {type(residuals).__name__}")
        module = model if isinstance(model, nn.Module) else None
        if module is None and points is not None:
            raise TypeError(
                f"model must be a module where points are given, as residuals(model, points) is called with it; got "
                f"{type(model).__name__}: give the module, or leave points out and let residuals() close over both"
            )
        parameters = trainable(model)
        self.meter = meter or CostMeter()
        self.last_terms: dict[str, float] = {}
        self._function = residuals
        self._weights = weights_by_name(weights or {})
        self._mean = reduction == "mean"
        self._factor = arguments.positive("factor", factor)
        super().__init__(
            parameters,
            module,
            points,
            redraw=redraw,
            held_out=held_out,
            seed=arguments.integer("seed", seed),
            jacobian_memory=jacobian_memory,
            flops=flops_per_gradient,
        )

    def __call__(self) -> Tensor:
        """The loss as a 0-d float64 tensor; fills ``.grad`` of the parameters and of nothing else."""
        self.zero_grad()
        with torch.enable_grad():
            terms = self.evaluate(self.points)
        # The seeds are the loss's derivatives in the residuals: no graph for the squares and their sum.
        total = self._add_up(terms)
        felt = {name: r for name, r in terms.items() if r.requires_grad}  # a term may be a constant
        seeds = [r.detach() * (2.0 * self._coefficient(name, r)) for name, r in felt.items()]
        torch.autograd.backward(list(felt.values()), seeds, inputs=[p for p in self.parameters if p.requires_grad])
        self.meter.count_gradient()
        self.weigh(terms)
        return torch.tensor(total, dtype=torch.float64)

    def loss(self) -> float:
        """The loss by a forward pass only."""
        total = self._add_up(self.forward(self.points))
        self.meter.count_forward()
        return total

    def loss_at(self, points: Points) -> float:
        """The loss at other points, not counted."""
        return math.fsum(self._values(self.forward(points)).values())

    def terms(self) -> dict[str, float]:
        """The loss of each term at the current parameters, weights included; their sum is the loss."""
        self.loss()
        return dict(self.last_terms)

    def reweight(self, weights: Mapping[str, float]) -> None:
        """Change the weights of some terms.

        Raises:
            TypeError: If they are no numbers by name.
            ValueError: If one is not positive, or of no term that the residual function has returned.
        """
        found = weights_by_name(weights)
        if self.last_terms:
            refuse_unknown(found, self.last_terms)
        self._weights.update(found)
        if self._watch is not None:
            self._watch.renew()
        self.changed("other weights")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs beside the model and the optimizer: weights, points drawn or given, counts."""
        return {**super().state_dict(), "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, in an objective made with the same arguments.

        Raises:
            ValueError: If that one has other rules.
        """
        super().load_state_dict(state)
        self._weights = dict(state["weights"])

    def minibatches(self, epoch: int) -> Iterator[LeastSquares]:
        """The closures of one epoch: only this one, as all residuals are one batch; points that are due are drawn first."""
        self.advance()
        yield self

    def subset(self, samples: int) -> LeastSquares:
        """This objective, if all residuals are asked for.

        Raises:
            UnsupportedError: If fewer are: a part of them does not stand for the whole, as samples would.
        """
        if samples < self.samples:
            raise UnsupportedError(
                f"LeastSquares has no subsets, and {samples} of {self.samples} residuals were asked for: a part does not "
                "stand for all. Use all of them"
            )
        return self

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
            fault = f" At fault: {layer_at_fault(self.model, self.loss)}." if self.model is not None else ""
            raise NondeterministicLossError(
                f"two evaluations of the residuals gave the losses {first!r} and {second!r}. The convex phase needs a fixed "
                f"function.{fault} Draw random points outside the residual function and hand them over by `redraw`, and switch "
                "dropout layers off by `model.eval()`"
            )

    def evaluate(self, points: Points) -> dict[str, Tensor]:
        """The residuals of each term at ``points``, neither weighted nor scaled."""
        found = self._function() if points is None else self._function(self.model, points)
        terms = {_SINGLE: found} if isinstance(found, Tensor) else found
        if isinstance(terms, dict) and terms and all(isinstance(r, Tensor) for r in terms.values()):
            for name, r in terms.items():
                if not r.is_floating_point():
                    raise TypeError(
                        f"residuals must be real floating-point tensors, got {name!r} of {r.dtype}: of a complex one return "
                        "torch.view_as_real, which has the same sum of squares"
                    )
            return terms
        raise TypeError(
            f"residuals {describe(self._function)} must return a tensor or a dictionary of tensors by name, got "
            f"{type(found).__name__}"
        )

    def weight(self, name: str) -> float:
        """The weight of a term."""
        return self._weights.get(name, 1.0)

    def scale(self, name: str, residual: Tensor) -> float:
        r""":math:`\sqrt{c\, w_k / n_k}`, what a residual is multiplied by in :math:`\rho`."""
        return math.sqrt(self._coefficient(name, residual))

    def _coefficient(self, name: str, residual: Tensor) -> float:
        size = residual.numel()
        if not size:
            raise ValueError(f"the residual term {name!r} is empty: give it at least one point")
        return self._factor * self.weight(name) / (size if self._mean else 1)

    def _values(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """The loss of each term."""
        refuse_unknown(self._weights, terms)
        flat = {name: [r.detach()] for name, r in terms.items()}
        return {name: self._coefficient(name, r) * vectors.dot(flat[name], flat[name]) for name, r in terms.items()}

    def _add_up(self, terms: dict[str, Tensor]) -> float:
        self.last_terms = self._values(terms)
        self._residuals = sum(r.numel() for r in terms.values())
        total = math.fsum(self.last_terms.values())
        self._seen.note(total, self.last_terms)
        return total
