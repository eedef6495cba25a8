"""Curvature products of the loss over a data set, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from homestretch import vectors
from homestretch.cost import CostMeter
from homestretch.objective.batch_loss import Loss, dtypes_explained, no_sync, one_number
from homestretch.objective.batches import Batches
from homestretch.objective.modes import fix_masks, full_pass_mode, single_samples_explained
from homestretch.objective.products.choosing import Chooser
from homestretch.objective.products.gauss_newton import output_curvature
from homestretch.objective.products.hessian import refuse_sharded
from homestretch.objective.products.ways import Ways
from homestretch.objective.ranks import sums
from homestretch.vectors import Vector


class DatasetProducts(Ways):
    """Hessian and Gauss-Newton products for :class:`~homestretch.objective.dataset.Objective`.

    Exact over all the data, every micro-batch weighted by its share, in the same mode and memory as a full pass. The way a
    product is made is chosen by the first one and said in :attr:`hessian_mode` and :attr:`gauss_newton_mode`; what choosing
    costs is counted.
    """

    model: nn.Module
    batches: Batches
    parameters: list[Tensor]
    meter: CostMeter
    mode: str
    dropout: str
    seed: int
    portion: float
    _total: float
    sample_loss: Loss
    compute: Callable[[nn.Module, Any], tuple[Any, Any]]
    group: dist.ProcessGroup | None

    def hessian_product(self, vector: Vector) -> Vector:
        """The Hessian of the loss over all the data times ``vector``, one tensor for each of ``parameters``.

        Raises:
            UnsupportedError: If the parameters are sharded.
        """
        refuse_sharded(self.parameters)
        maker = self._hessian

        def product(batch: Any, index: int) -> Vector:
            return maker(lambda: self._loss_of(batch, index), vector)

        return self._over_data(product, maker.choice, self.meter.count_hessian_product)

    def gauss_newton_product(self, vector: Vector) -> Vector:
        """The Gauss-Newton matrix of the loss over all the data times ``vector``.

        It is positive semidefinite where the loss is convex in the model's outputs (squared error, cross-entropy of scores). A
        softmax belongs into the model before a squared error, and into the loss before a logarithm.

        Raises:
            UnsupportedError: If the outputs are not one tensor or the parameters are sharded.
        """
        refuse_sharded(self.parameters)
        maker = self._gauss_newton

        def product(batch: Any, index: int) -> Vector:
            held: list[Any] = []

            def outputs() -> Tensor:
                self.fix(index)
                found, targets = self.compute(self.model, batch)
                held[:] = [targets]
                return found

            curvature = output_curvature(lambda z: one_number(self.sample_loss(z, held[0])))
            return maker(outputs, curvature, vector)

        return self._over_data(product, maker.choice, self.meter.count_gauss_newton_product)

    def fix(self, index: int) -> None:
        """Set the dropout masks of a micro-batch before an evaluation within a full pass, where they are fixed."""
        if self.dropout == "fixed":
            fix_masks(self.seed, index)

    def batch_loss(self, batch: Any) -> Tensor:
        """The mean loss of one batch, differentiable."""
        with dtypes_explained(self.model, batch):
            return one_number(self.sample_loss(*self.compute(self.model, batch)))

    @contextmanager
    def full_pass(self) -> Iterator[None]:
        """The model as it is in a full pass: in its mode, every rank by itself."""
        mode = full_pass_mode(self.model, self.mode, self.dropout)
        with single_samples_explained(self._single_sample), mode, no_sync(self.model):
            yield

    def _single_sample(self) -> str:
        return (
            "micro_batch: batch norm in mode 'train' cannot normalise a micro-batch of one sample, as the partition of these "
            f"{len(self.batches)} samples has: give a micro_batch that leaves no such rest, or mode='eval'"
        )

    def _loss_of(self, batch: Any, index: int) -> Tensor:
        """The loss of a micro-batch within a full pass."""
        self.fix(index)
        return self.batch_loss(batch)

    def _over_data(self, product: Callable[[Any, int], Vector], choice: Chooser, count: Callable[[float], None]) -> Vector:
        """The mean of the micro-batches' products, and its cost, that of choosing a way included."""
        total = vectors.zeros_like(vectors.locals_of(self.parameters))
        fraction = 0.0
        with self.full_pass():
            for index, (batch, samples) in enumerate(self.batches.full()):
                share = samples / self._total
                vectors.add_(total, product(batch, index), share)
                fraction += share * choice.tries
        # Each rank may have tried more or less on a batch of another size; all must know the same cost, or they part.
        (fraction,) = sums([fraction], self.group, self.parameters[0].device)
        count(self.portion * fraction)
        if self.group is not None:
            for t in total:
                dist.all_reduce(t, group=self.group)
        return total
