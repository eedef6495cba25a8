r"""Progressive data: the convex phase begins on a part of the data that grows, and ends on all of them.

Far from the minimum a part of the data shows the way as well as all of them, at a share of the cost. When it no longer does is
decided by one of two tests:

* ``"variance"``: with the gradient :math:`g_S` of a part S of n of the N samples and the trace :math:`\mathrm{tr}\,\Sigma` of
  the covariance of the samples' gradients, the error of :math:`g_S` has the expected square
  :math:`\frac{\mathrm{tr}\,\Sigma}{n} \frac{N - n}{N - 1}`. When that exceeds :math:`\theta^2 \|g_S\|^2`, the part grows to the
  size at which it would not (Byrd, Chin, Nocedal and Wu, 2012, sections 3 and 3.2).
* ``"hold-out"``: when the loss on as many samples outside of the part falls no more, what the part teaches is about itself.

A part also grows when the method stops on it, and after ``longest`` iterations, so that all the data are reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from homestretch import arguments, vectors
from homestretch.memory import Remembering
from homestretch.vectors import Vector

if TYPE_CHECKING:
    from homestretch.cost import CostMeter
    from homestretch.objective.batches import Batches
    from homestretch.objective.dataset import Objective

TESTS = ("variance", "hold-out")
DRAWS = ("nested", "redrawn")
_CHUNKS = 8  # gradients that the variance is estimated from


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the data of the convex phase grow.

    Attributes:
        start: Share of the data to begin with.
        factor: Least factor from one size to the next, above 1.
        draw: ``"nested"``: each part contains the one before; ``"redrawn"``: each is a new random choice.
        test: ``"variance"`` or ``"hold-out"``, see above.
        theta: What the error of the gradient may be as a share of its norm, for ``"variance"``.
        least: What the hold-out loss must fall by between two checks, as a share of it, for ``"hold-out"``.
        check_every: Iterations from one check to the next. A check costs a gradient over the part, or a forward pass over
            as many samples.
        longest: Iterations after which a part grows anyway.
    """

    start: float = 0.125
    factor: float = 2.0
    draw: str = "nested"
    test: str = "variance"
    theta: float = 0.5
    least: float = 0.01
    check_every: int = 5
    longest: int = 25

    def __post_init__(self) -> None:
        arguments.fraction("start", self.start)
        arguments.positive("theta", self.theta)
        arguments.at_least("least", self.least, 0.0)
        arguments.count("check_every", self.check_every)
        arguments.count("longest", self.longest)
        if not self.factor > 1.0:
            raise ValueError(f"factor must be above 1, got {self.factor}: it is that from one size to the next")
        arguments.one_of("draw", self.draw, DRAWS)
        arguments.one_of("test", self.test, TESTS)


@dataclass
class GrowthMemory:
    """Where the growth stands: enough to build the same part again.

    Attributes:
        samples: Size of the part; 0 before the first use.
        grown: How often it grew.
        iterations: Iterations on this part.
        held_out: Loss on the hold-out samples at the last check.
        sizes: All sizes so far.
    """

    samples: int = 0
    grown: int = 0
    iterations: int = 0
    held_out: float = math.inf
    sizes: list[int] = field(default_factory=list)


class Growing(Remembering):
    """The function of the convex phase while its data grow: the objective over the present part.

    Args:
        objective: The objective over all the data.
        growth: How it grows.
    """

    name = "growth"
    Memory = GrowthMemory
    memory: GrowthMemory

    def __init__(self, objective: Objective, growth: Growth) -> None:
        super().__init__()
        self.objective = objective
        self.growth = growth
        self.meter: CostMeter = objective.meter
        self.parameters: list[Tensor] = objective.parameters
        self._part: Objective | None = None
        self._whole: Batches = objective.batches  # what the part was cut from
        self._set(max(math.ceil(growth.start * objective.samples), 1))

    # --- the function ---

    @property
    def version(self) -> int:
        """Changes with the objective and with every growth; never that of the objective itself before all data are in."""
        return self.objective.version + 1 + self.memory.grown

    @property
    def samples(self) -> int:
        """Samples in the present part."""
        return self.memory.samples

    @property
    def complete(self) -> bool:
        """Whether the part is all the data."""
        return self.samples >= self.objective.samples

    def __call__(self) -> Tensor:
        """The loss over the part; fills ``.grad``."""
        return self.part()

    def loss(self) -> float:
        """The loss over the part by forward passes only."""
        return self.part.loss()

    def hessian_product(self, vector: Vector) -> Vector:
        """The Hessian of the loss over the part times ``vector``."""
        return self.part.hessian_product(vector)

    def gauss_newton_product(self, vector: Vector) -> Vector:
        """The Gauss-Newton matrix of the loss over the part times ``vector``."""
        return self.part.gauss_newton_product(vector)

    @property
    def part(self) -> Objective:
        """The objective over the present part."""
        if self.complete:
            return self.objective
        # A promotion and its end put other batches in place, in the dtype that the parameters have then.
        if self._part is None or self._whole is not self.objective.batches:
            self._whole = self.objective.batches
            self._part = self.objective.subset(self.samples, draw=self._draw)
        return self._part

    # --- its growth ---

    def observe(self, stop: str = "") -> str:
        """Take in an iteration, check if a check is due, and grow if there is a reason.

        Args:
            stop: Why the method stopped on this part; empty while it goes on.

        Returns:
            The reason, a sentence; empty if nothing changed.
        """
        memory, growth = self.memory, self.growth
        if self.complete:
            return ""
        memory.iterations += 1
        if stop:
            return self._grow(self._next(), f"the method stopped on {self.samples} samples ({stop})")
        if memory.iterations >= growth.longest:
            return self._grow(self._next(), f"{memory.iterations} iterations were made on {self.samples} samples")
        if memory.iterations % growth.check_every:
            return ""
        return self._by_variance() if growth.test == "variance" else self._by_hold_out()

    def load_state_dict(self, state: dict[str, object]) -> None:  # type: ignore[override]
        """Go on from what :meth:`state_dict` returned, on the same part."""
        super().load_state_dict(state)
        self._part = None

    def _by_variance(self) -> str:
        size, total = self.samples, self.objective.samples
        square, variance = self.gradient_moments()
        error = variance / size * (total - size) / max(total - 1, 1)
        allowed = self.growth.theta**2 * square
        if error <= allowed:
            return ""
        # The size at which the error would be what is allowed: v / n (N - n) / (N - 1) = allowed.
        needed = total * variance / (variance + allowed * max(total - 1, 1)) if variance > 0.0 else total
        return self._grow(
            max(math.ceil(needed), self._next()),
            f"on {size} samples the gradient's error is {math.sqrt(error / square) if square else math.inf:.2g} of its norm, "
            f"{self.growth.theta:g} are allowed",
        )

    def _by_hold_out(self) -> str:
        size, memory = self.samples, self.memory
        outside = min(size, self.objective.samples - size)
        loss = self.objective.subset(outside, draw=self._draw, skip=size).loss()
        before, memory.held_out = memory.held_out, loss
        if loss <= before - self.growth.least * abs(before) or before == math.inf:
            return ""
        return self._grow(self._next(), f"the loss on {outside} samples outside of {size} went from {before:.3g} to {loss:.3g}")

    def gradient_moments(self) -> tuple[float, float]:
        r""":math:`\|g_S\|^2` and :math:`\mathrm{tr}\,\Sigma` from the gradients of a few equal chunks of the part.

        With K chunks of m samples, :math:`\mathrm{tr}\,\Sigma = \frac{m}{K - 1} \sum_k \|g_k - g_S\|^2` has the right mean.
        ``.grad`` is left as it was.
        """
        kept = [p.grad for p in self.parameters]
        chunks = min(_CHUNKS, self.samples)
        size = self.samples // chunks
        mean, squares = vectors.zeros_like(vectors.locals_of(self.parameters)), 0.0
        groups = vectors.shard_groups(self.parameters)
        for k in range(chunks):
            self.objective.subset(size, draw=self._draw, skip=k * size)()
            gradient = [vectors.local(p.grad) for p in self.parameters if p.grad is not None]
            used = [m for m, p in zip(mean, self.parameters, strict=True) if p.grad is not None]
            vectors.add_(used, gradient, 1.0 / chunks)
            squares += vectors.dot(gradient, gradient, groups)
        square = vectors.dot(mean, mean, groups)
        for p, gradient_before in zip(self.parameters, kept, strict=True):
            p.grad = gradient_before
        return square, max(squares - chunks * square, 0.0) * size / max(chunks - 1, 1)

    @property
    def _draw(self) -> int:
        return self.memory.grown if self.growth.draw == "redrawn" else 0

    def _next(self) -> int:
        return math.ceil(self.samples * self.growth.factor)

    def _grow(self, samples: int, why: str) -> str:
        self.memory.grown += 1
        self._set(samples)
        return f"{why}: now {self.samples} of {self.objective.samples}"

    def _set(self, samples: int) -> None:
        memory = self.memory
        memory.samples = min(samples, self.objective.samples)
        memory.iterations, memory.held_out = 0, math.inf
        memory.sizes.append(memory.samples)
        self._part = None
