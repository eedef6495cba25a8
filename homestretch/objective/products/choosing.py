"""Several ways to one product: the first that works and that another way confirms is chosen, once.

Derivatives of higher order may not only be missing but silently wrong (a custom backward pass that is no function of its inputs
alone). So the first product is made in more than one way before one is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from homestretch import vectors
from homestretch.vectors import Vector

Way = Callable[[], Vector]

_SAME = 1e-3  # two exact ways differ by rounding only, amplified by cancellation in float32
_CLOSE = 5e-2  # differences may cross a few kinks of a piecewise smooth network


class Chooser:
    """Remembers which way works.

    Attributes:
        mode: The name of the chosen way; empty before the first product.
        reasons: Why other ways were passed over.
        tries: How many products the last call made.
    """

    def __init__(self) -> None:
        self.mode = ""
        self.reasons: list[str] = []
        self.tries = 1

    def __call__(self, exact: Mapping[str, Way], differences: Way) -> Vector:
        """Make one product.

        Args:
            exact: The exact ways, cheapest first.
            differences: What works without any, and decides where the exact ways disagree or only one works.
        """
        self.tries = 1
        if self.mode:
            return exact[self.mode]() if self.mode in exact else differences()
        found = self._attempts(exact)
        self.tries = max(len(found), 1)
        names = list(found)
        if len(found) > 1 and agree(found[names[0]], found[names[1]], _SAME):
            self.mode = names[0]
            return found[self.mode]
        self.tries = len(found) + 1
        reference = differences()
        for name, result in found.items():
            if agree(result, reference, _CLOSE):
                self.mode = name
                return result
            self.reasons.append(f"{name}: it disagrees with differences of gradients or outputs")
        if math.isfinite(vectors.norm(reference)):
            self.mode = "differences"
        return reference

    def _attempts(self, exact: Mapping[str, Way]) -> dict[str, Vector]:
        found = {}
        for name, way in exact.items():
            try:
                found[name] = way()
            except (RuntimeError, NotImplementedError) as error:
                self.reasons.append(f"{name}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}")
        return found


def agree(one: Sequence[Tensor], other: Sequence[Tensor], tolerance: float) -> bool:
    """Whether two vectors are finite and differ by at most ``tolerance`` times the longer one."""
    gap = vectors.norm(vectors.subtract(one, other))
    size = max(vectors.norm(one), vectors.norm(other))
    return math.isfinite(size) and gap <= tolerance * size
