"""What training costs, counted where the work is done.

One gradient-equivalent (eq.) is one forward and backward pass over all the data. The prices are fixed, so that two
methods on two machines are compared by the same rule; the seconds are recorded beside them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

FORWARD = 1.0 / 3.0
"""Price of a forward pass over the data: the backward pass does about twice a forward's arithmetic."""
GRADIENT = 1.0
"""Price of a forward and backward pass over the data: the unit."""
HESSIAN_PRODUCT = 3.0
"""Price of one Hessian-vector product over the data, its own forward and backward included."""
GAUSS_NEWTON_PRODUCT = 2.0
"""Price of one Gauss-Newton-vector product over the data."""


@dataclass
class CostMeter:
    """Counts passes over the data and adds up their price.

    Every ``count_*`` method takes the ``fraction`` of the data that the pass covered (1 is the whole set).

    Attributes:
        gradient_equivalents: Total price in gradient-equivalents.
        forwards: Forward passes, in units of the whole data.
        gradients: Forward and backward passes, in units of the whole data.
        hessian_products: Hessian-vector products, in units of the whole data.
        gauss_newton_products: Gauss-Newton-vector products, in units of the whole data.
        evaluations: Calls, whatever fraction of the data each covered.
    """

    gradient_equivalents: float = 0.0
    forwards: float = 0.0
    gradients: float = 0.0
    hessian_products: float = 0.0
    gauss_newton_products: float = 0.0
    evaluations: int = 0
    _started: float = field(default_factory=time.perf_counter, repr=False, compare=False)
    _seconds_before: float = field(default=0.0, repr=False, compare=False)

    def count_forward(self, fraction: float = 1.0) -> None:
        """Count a forward pass over ``fraction`` of the data."""
        self.forwards += fraction
        self._add(FORWARD * fraction)

    def count_gradient(self, fraction: float = 1.0) -> None:
        """Count a forward and backward pass over ``fraction`` of the data."""
        self.gradients += fraction
        self._add(GRADIENT * fraction)

    def count_hessian_product(self, fraction: float = 1.0) -> None:
        """Count a Hessian-vector product over ``fraction`` of the data."""
        self.hessian_products += fraction
        self._add(HESSIAN_PRODUCT * fraction)

    def count_gauss_newton_product(self, fraction: float = 1.0) -> None:
        """Count a Gauss-Newton-vector product over ``fraction`` of the data."""
        self.gauss_newton_products += fraction
        self._add(GAUSS_NEWTON_PRODUCT * fraction)

    def count_flops(self, flops: float, flops_per_gradient: float) -> None:
        """Count work that is no pass over the data (a Jacobian, dense algebra) by its floating-point operations."""
        if flops_per_gradient <= 0:
            raise ValueError(f"flops_per_gradient must be positive, got {flops_per_gradient}")
        self._add(flops / flops_per_gradient)

    @property
    def seconds(self) -> float:
        """Wall time in seconds since the meter was made, that of earlier sessions of a resumed run included."""
        return self._seconds_before + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, float]:
        """The counts and the seconds so far, as plain numbers."""
        return {
            "gradient_equivalents": self.gradient_equivalents,
            "forwards": self.forwards,
            "gradients": self.gradients,
            "hessian_products": self.hessian_products,
            "gauss_newton_products": self.gauss_newton_products,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from the counts that :meth:`state_dict` returned."""
        for name in ("gradient_equivalents", "forwards", "gradients", "hessian_products", "gauss_newton_products"):
            setattr(self, name, float(state[name]))
        self.evaluations = int(state["evaluations"])
        self._seconds_before = float(state["seconds"])
        self._started = time.perf_counter()

    def _add(self, price: float) -> None:
        self.gradient_equivalents += price
        self.evaluations += 1
