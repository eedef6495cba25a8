"""The makers of an objective's products, and which way each has chosen: part of its state, as choosing anew would cost anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from homestretch.objective.graphs import GraphFree
from homestretch.objective.products.gauss_newton import GaussNewtonProduct
from homestretch.objective.products.hessian import HessianProduct


class Ways(GraphFree):
    """Base of objectives with products."""

    _hessian: HessianProduct
    _gauss_newton: GaussNewtonProduct

    def make_products(self, parameters: Sequence[Tensor], model: nn.Module | None) -> None:
        """Begin without a choice."""
        self._hessian = HessianProduct(parameters, model)
        self._gauss_newton = GaussNewtonProduct(parameters, model)

    @property
    def hessian_mode(self) -> str:
        """How Hessian products are made; empty before the first one."""
        return self._hessian.choice.mode

    @property
    def gauss_newton_mode(self) -> str:
        """How the Jacobian's products inside Gauss-Newton products are made; empty before the first one."""
        return self._gauss_newton.choice.mode

    def product_modes(self) -> dict[str, Any]:
        """The ways chosen, for a state."""
        return {"hessian": self.hessian_mode, "gauss_newton": self.gauss_newton_mode}

    def take_product_modes(self, modes: Mapping[str, Any]) -> None:
        """Go on with the ways that a state holds."""
        self._hessian.choice.mode, self._gauss_newton.choice.mode = modes["hessian"], modes["gauss_newton"]
