"""Products and Jacobians of a sum of squared residuals."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from homestretch import vectors
from homestretch.cost import FORWARD, GRADIENT, CostMeter
from homestretch.objective.points import over
from homestretch.objective.products.choosing import agree
from homestretch.objective.products.hessian import refuse_frozen, refuse_sharded
from homestretch.objective.products.jacobian import COLUMNS, PER_POINT, ROWS, by_columns, by_points, by_rows
from homestretch.objective.products.stacking import Group, Stacking
from homestretch.objective.products.swapping import swapped
from homestretch.objective.products.ways import Ways
from homestretch.vectors import Vector

_FLOPS = 6.0  # of a gradient for each residual and parameter: two forward, four backward, as a dense layer has it
_BATCH = 64  # backward passes that go side by side
_INPUT_DERIVATIVES = (
    "It can where homestretch.objective.taylor or homestretch.objective.derivatives.forward gives derivatives in the points in "
    "place of torch.autograd.grad"
)
_SAME = {torch.float64: 1e-8, torch.float32: 1e-3}


class ResidualProducts(Stacking, Ways):
    r"""The curvature side of :class:`~homestretch.objective.least_squares.LeastSquares`.

    Attributes:
        parameters: The trainable parameters.
        model: The module that holds them, if there is one.
        flops_per_gradient: What dense algebra is priced by.
        jacobian_mode: How Jacobians are made: "per point", "rows" or "columns"; empty before the first one.
        jacobian_reason: Why they are not made point by point; empty if they are.
    """

    meter: CostMeter

    def __init__(
        self, parameters: Sequence[Tensor], model: nn.Module | None, jacobian_memory: float, flops: float | None
    ) -> None:
        self.parameters = list(parameters)
        self.model = model
        self.forget_jacobian_mode()
        self._size = vectors.size(self.parameters)
        self._memory = jacobian_memory
        self._flops = flops
        self.make_products(self.parameters, model)

    @property
    def flops_per_gradient(self) -> float:
        """Floating-point operations of one gradient, by which dense algebra is priced."""
        return self._flops or _FLOPS * self._size * self.residual_count

    def hessian_product(self, vector: Vector) -> Vector:
        """The Hessian of the loss times ``vector``, one tensor for each of ``parameters``."""
        refuse_sharded(self.parameters)
        product = self._hessian(lambda: self.stacked().square().sum(), vector)
        self.meter.count_hessian_product(self._hessian.choice.tries)
        return product

    def gauss_newton_product(self, vector: Vector) -> Vector:
        r""":math:`2 J^T J v`, one tensor for each of ``parameters``."""
        refuse_sharded(self.parameters)
        product = self._gauss_newton(self.stacked, lambda _, image: 2.0 * image, vector)
        self.meter.count_gauss_newton_product(self._gauss_newton.choice.tries)
        return product

    def residuals(self) -> Tensor:
        r""":math:`\rho` at the current parameters, shape (N,), detached; in the order of the Jacobian's rows."""
        with torch.no_grad():
            rho = self.stacked()
        self.meter.count_forward()
        return rho

    def jacobian(self) -> Tensor:
        r"""The Jacobian of :math:`\rho`, shape (N, P), its columns in the order of the packed parameters."""
        return torch.cat([rows for _, rows in self.jacobian_chunks()])

    def normal_equations(self) -> tuple[Tensor, Tensor]:
        r""":math:`J^T J`, shape (P, P), and :math:`J^T \rho`, shape (P,), without ever holding the whole Jacobian."""
        like = self.parameters[0]
        matrix, right = like.new_zeros(self._size, self._size), like.new_zeros(self._size)
        for rho, rows in self.jacobian_chunks():
            matrix.addmm_(rows.T, rows)
            right.addmv_(rows.T, rho)
        return matrix, right

    def jacobian_chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Pieces of :math:`\rho`, shape (n,), with their rows of the Jacobian, shape (n, P).

        How they are made is chosen at the first call and said in :attr:`jacobian_mode`.

        Raises:
            UnsupportedError: If the parameters are sharded, or one was frozen since.
            ValueError: If they lie on several devices or have several dtypes.
        """
        refuse_sharded(self.parameters)
        refuse_frozen(self.parameters)
        if len({(p.device, p.dtype) for p in self.parameters}) > 1:
            raise ValueError("dense Jacobians need all parameters on one device and of one dtype: use GaussNewtonCG")
        if self.find_jacobian_mode() == PER_POINT:
            yield from self._by_points()
        elif self.jacobian_mode == ROWS:
            self._count_backwards(len(self.stacked()))
            yield from by_rows(self.stacked, self.parameters, min(_BATCH, self._rows))
        else:
            self._count_backwards(self._size)
            yield by_columns(self.stacked, self.parameters, _BATCH)

    def find_jacobian_mode(self) -> str:
        """How Jacobians are made here, found out once, at the price of one made point by point."""
        if not self.jacobian_mode:
            self._choose_mode()
        return self.jacobian_mode

    def forget_jacobian_mode(self) -> None:
        """Find out anew at the next Jacobian: other points may be coupled where these are not."""
        self.jacobian_mode = ""
        self.jacobian_reason = ""
        self._point_price = 0.0  # of a Jacobian made point by point, once one was

    def jacobian_price(self) -> float:
        """What the next Jacobian will cost, in gradient-equivalents."""
        mode = self.find_jacobian_mode()
        if mode == PER_POINT:
            return self._point_price or FORWARD + GRADIENT
        return FORWARD + (GRADIENT - FORWARD) * (self.residual_count if mode == ROWS else self._size)

    def product_modes(self) -> dict[str, Any]:
        """The ways chosen, that of Jacobians and its price included."""
        found = {"jacobian": self.jacobian_mode, "jacobian_reason": self.jacobian_reason, "point_price": self._point_price}
        return {**super().product_modes(), **found}

    def take_product_modes(self, modes: Mapping[str, Any]) -> None:
        """Go on with the ways that a state holds."""
        super().take_product_modes(modes)
        self.jacobian_mode, self.jacobian_reason = modes.get("jacobian", ""), modes.get("jacobian_reason", "")
        self._point_price = float(modes.get("point_price", 0.0))

    @property
    def _rows(self) -> int:
        """How many rows of the Jacobian may be held at once."""
        return max(int(self._memory / (self._size * self.parameters[0].element_size())), 1)

    def _choose_mode(self) -> None:
        """Point by point if that is possible and right, else the shorter side of the Jacobian, by columns if all of it fits."""
        refuse_frozen(self.parameters)
        self.jacobian_reason = self._why_not_per_point()
        if not self.jacobian_reason:
            self.jacobian_mode = PER_POINT
        elif self._size < self._count <= self._rows:
            self.jacobian_mode = COLUMNS  # which makes the whole matrix at once
        else:
            self.jacobian_mode = ROWS

    def _why_not_per_point(self) -> str:
        """Make the Jacobian point by point and compare a random combination of its rows with a backward pass."""
        with torch.enable_grad():
            rho = self.stacked()
        if self.model is None or self.points is None:
            return "LeastSquares was not given a module and its points"
        generator = torch.Generator().manual_seed(0)  # the global one is the user's
        weights = torch.randn(len(rho), generator=generator, dtype=torch.float64).to(rho)
        pulled = torch.autograd.grad(rho, self.parameters, weights, allow_unused=True, materialize_grads=True)
        found, start = torch.zeros_like(vectors.pack(pulled)), 0
        try:
            for _, rows in self._by_points():
                found.addmv_(rows.T, weights[start : start + len(rows)])
                start += len(rows)
        except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError, KeyError) as error:
            reason = f"it cannot be made point by point: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
            return f"{reason}. {_INPUT_DERIVATIVES}" if "requires_grad_" in reason or self._needs_graph else reason
        if agree([found], [vectors.pack(pulled)], _SAME.get(rho.dtype, 1e-3)):
            return ""
        return "residuals depend on more than their own point"

    def _by_points(self) -> Iterator[tuple[Tensor, Tensor]]:
        terms = self.forward(self.points)
        scales = {name: self.scale(name, r) for name, r in terms.items()}
        self.meter.count_forward()
        price = FORWARD
        groups = self.groups(terms)
        for group in groups:
            if not group.count:
                raise ValueError(f"the first dimension of the terms {', '.join(group.names)} does not count their points")
            width = group.size // group.count
            members = [terms[name].reshape(group.count, -1) * scales[name] for name in group.names]
            rho, start = torch.cat(members, 1).reshape(-1), 0
            points = self.points[group.place] if group.place else self.points
            # Of the other sets a point each is enough.
            others = {g.place: over(self.points[g.place], lambda t: t[:1]) for g in groups if g.place not in ("", group.place)}
            single = functools.partial(self._single, group, scales, others)
            for rows in by_points(single, self.parameters, points, self._rows, width):
                yield rho[start : start + len(rows)], rows
                start += len(rows)
            share = width * group.size / max(self._count, 1)
            self.meter.count_gradient(share)
            price += share * GRADIENT
        self._point_price = price

    def _single(
        self, group: Group, scales: Mapping[str, float], others: Mapping[str, Any], values: Sequence[Tensor], point: Any
    ) -> Tensor:
        """The scaled residuals of a group at one point, as a function of the parameters' values."""
        assert self.model is not None
        where = {**self.points, **others, group.place: point} if group.place else point
        # The fused attention kernels have no rule for a batch of points: they would be called point by point, with a warning.
        with swapped(self.model, self.parameters, values), sdpa_kernel(SDPBackend.MATH):
            terms = self.evaluate(where)
        return torch.cat([terms[name].reshape(-1) * scales[name] for name in group.names])

    def _count_backwards(self, number: int) -> None:
        """Price ``number`` backward passes, two thirds of a gradient each, and the forward pass before them."""
        self.meter.count_forward()
        self.meter.count_flops((GRADIENT - FORWARD) * number, 1.0)
