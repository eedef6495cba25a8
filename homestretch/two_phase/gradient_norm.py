r"""The gradient norm that a swap rule watches, measured three ways.

``"running-mean"``: the norm of the mean of the epoch's mini-batch gradients. Free, but the parameters move while it is
taken, and noise adds to it: with B batches its expected square is about :math:`|g|^2 + \mathrm{tr}\Sigma / N`.
``"probe"``: the gradient on a fixed sample of the data; costs the sample's share of a pass.
``"exact"``: the gradient over all the data; costs a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from homestretch import vectors
from homestretch.objective.ranks import sums
from homestretch.vectors import Vector

KINDS = ("running-mean", "probe", "exact")


class RunningMean:
    """Mean loss, mean gradient and gradient noise over the mini-batches of an epoch, without a transfer from the device.

    Args:
        parameters: The parameters whose ``.grad`` is averaged.
        group: Ranks that each hold a part of the data. What is told of an epoch is then the same on all of them; gradients
            are taken to be averaged over them already.
    """

    def __init__(self, parameters: Sequence[Tensor], group: dist.ProcessGroup | None = None) -> None:
        self._parameters = list(parameters)
        self._group = group
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        self._sum: Vector | None = None
        self._squares: list[Tensor] = []
        self._losses: list[Tensor | float] = []
        self._weights: list[float] = []

    def add(self, loss: Tensor | float | None, weight: float = 1.0) -> None:
        """Take in the gradient now in ``.grad`` and the mini-batch's loss."""
        grads = [vectors.local(p.grad) if p.grad is not None else torch.zeros_like(vectors.local(p)) for p in self._parameters]
        if self._sum is None:
            self._sum = [g.detach() * weight for g in grads]
        else:
            vectors.add_(self._sum, grads, weight)
        self._squares.append(torch.stack(list(torch._foreach_norm(grads))).square().sum())
        self._weights.append(weight)
        if loss is not None:
            self._losses.append(loss.detach() if isinstance(loss, Tensor) else loss)

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def told(self) -> bool:
        """Whether there were steps, and all of them gave their loss."""
        return 0 < len(self._weights) == len(self._losses)

    def loss(self) -> float:
        """Weighted mean of the losses; NaN if some step gave none."""
        if not self.told:
            return math.nan
        weighted = math.fsum(w * float(f) for w, f in zip(self._weights, self._losses, strict=True))
        found, total = self._over_ranks(weighted, math.fsum(self._weights))
        return found / total

    def norm(self, add: Callable[[Vector], None] | None = None) -> float:
        """Norm of the weighted mean gradient; ``add`` may add to it in place what the mini-batches' losses do not contain."""
        if self._sum is None:
            return math.nan
        mean = [g / math.fsum(self._weights) for g in self._sum]
        if add is not None:
            add(mean)
        own = vectors.norm(mean, vectors.shard_groups(self._parameters))
        if self._group is None:
            return own
        squares, ranks = self._over_ranks(own**2, 1.0)  # of averages that differ by the sizes of the ranks' parts
        return math.sqrt(squares / ranks)

    def noise_scale(self, samples: int | None) -> float | None:
        r"""The simple noise scale :math:`\mathrm{tr}\Sigma / |g|^2` in samples (McCandlish et al., 2018, appendix A).

        From the mean square of mini-batch gradients, :math:`|g|^2 + \mathrm{tr}\Sigma / b`, and the square of their mean,
        :math:`|g|^2 + \mathrm{tr}\Sigma / N`. ``None`` where there are too few batches or the estimate of :math:`|g|^2` is
        not positive.
        """
        if samples is None or len(self._weights) < 2 or self._sum is None:
            return None
        weighted = math.fsum(w * float(s) for w, s in zip(self._weights, self._whole_squares(), strict=True))
        square, total = self._over_ranks(weighted, math.fsum(self._weights))
        mean_square = square / total
        square_of_mean = self.norm() ** 2
        batch, covered = samples * total / len(self._weights), samples * total
        noise = (mean_square - square_of_mean) / (1.0 / batch - 1.0 / covered)
        signal = square_of_mean - noise / covered
        return noise / signal if signal > 0.0 and noise >= 0.0 else None

    def _whole_squares(self) -> list[float]:
        """Squared norms of the mini-batch gradients, sharded parameters put together."""
        squares, groups = torch.stack(self._squares).double().cpu(), vectors.shard_groups(self._parameters)
        return (vectors.sum_over_ranks(squares, groups, self._sum or []) if groups else squares).tolist()

    def _over_ranks(self, *values: float) -> list[float]:
        return sums(values, self._group, self._parameters[0].device)

    def state_dict(self) -> dict[str, float]:
        """Nothing outlives an epoch: checkpoints are taken between epochs."""
        return {}
