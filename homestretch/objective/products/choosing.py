"""Several ways to one product: the first that works and that another way confirms is chosen, once.

Derivatives of higher order may not only be missing but silently wrong (a custom backward pass that is no function of its inputs
alone). So the first product is made in more than one way before one is trusted. Two exact ways share a fault of a backward pass
written by hand; where there is one, differences must confirm them too. Elsewhere they need not: across the kinks of a piecewise
smooth network differences are far off, however small their step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from homestretch import vectors
from homestretch.vectors import Vector

Way = Callable[[], Vector]

_SAME = 1e-3  # two exact ways differ by rounding only, amplified by cancellation; a fault may be as small along one vector
_CLOSE = 5e-2  # differences may cross a few kinks of a piecewise smooth network
_OWN = "homestretch"  # whose backward passes by hand are tested to the second derivative


class Chooser:
    """Remembers which way works.

    Attributes:
        mode: The name of the chosen way; empty before the first product.
        reasons: Why other ways were passed over.
        tries: How many products the last call made; whoever needs none makes it 0.
        doubtful: Whether the exact ways may share a fault, so that their agreement proves nothing; set by the ways.
    """

    def __init__(self) -> None:
        self.mode = ""
        self.reasons: list[str] = []
        self.tries = 1
        self.doubtful = False

    def __call__(self, exact: Mapping[str, Way], differences: Way, finer: Way | None = None) -> Vector:
        """Make one product.

        Args:
            exact: The exact ways, cheapest first.
            differences: What works without any, and decides where the exact ways disagree, only one works, or all are in doubt.
            finer: The same with a shorter step. Differences overrule exact ways that agree only where the two steps do.
        """
        self.tries = 1
        if self.mode:
            return exact[self.mode]() if self.mode in exact else differences()
        found = self._attempts(exact)
        self.tries = max(len(found), 1)
        names = list(found)
        unanimous = len(found) > 1 and agree(found[names[0]], found[names[1]], _SAME)
        equal = unanimous and agree(found[names[0]], found[names[1]], _rounding(found[names[0]]))
        if equal and not self.doubtful:
            self.mode = names[0]
            return found[self.mode]
        self.tries = len(found) + 1
        reference = differences()
        close = [name for name in names if agree(found[name], reference, _CLOSE)]
        # Ways that differ by less than differences may be off are told apart by them all the same.
        confirmed = min(close[:1] if equal else close, key=lambda name: _gap(found[name], reference), default="")
        if not confirmed and unanimous and not (self.doubtful and self._hold(reference, finer)):
            confirmed = names[0]  # rounding or kinks, which no exact way knows
        for name in names[: names.index(confirmed)] if confirmed else names:
            self.reasons.append(f"{name}: it disagrees with differences of gradients or outputs")
        if confirmed:
            self.mode = confirmed
            return found[confirmed]
        if math.isfinite(vectors.norm(reference)):
            self.mode = "differences"
        return reference

    def _hold(self, reference: Vector, finer: Way | None) -> bool:
        """Whether differences do not depend on their step."""
        if finer is None:
            return True
        self.tries += 1
        return agree(reference, finer(), _CLOSE)

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
    size = max(vectors.norm(one), vectors.norm(other))
    return math.isfinite(size) and _gap(one, other) <= tolerance * size


def _gap(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return vectors.norm(vectors.subtract(one, other))


def _rounding(vector: Sequence[Tensor]) -> float:
    """What rounding may make of a product, as a share of it: the root of the coarsest rounding unit."""
    return math.sqrt(max(vectors.working_eps(t.dtype) for t in vector))


def by_hand(value: Tensor) -> bool:
    """Whether a backward pass that a user wrote by hand takes part in a tensor's graph."""
    seen, left = set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if _foreign(node):
            return True
        seen.add(node)
        left += [before for before, _ in node.next_functions]
    return False


def _foreign(node: Any) -> bool:
    """A node of ``torch.autograd.Function``, of Python or of C++, that is not this library's."""
    if isinstance(node, BackwardCFunction):
        return type(node)._forward_cls.__module__.partition(".")[0] != _OWN  # type: ignore[attr-defined]
    return "CppNode" in node.name()
