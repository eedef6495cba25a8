r"""The loss of a model over a whole data set: exact, in bounded memory, counted.

.. math:: f(\theta) = \frac{1}{N} \sum_{i=1}^{N} \ell(m_\theta(x_i), t_i)

A mean over micro-batches of unequal size is not the mean over the data, so every micro-batch is weighted by its share.
The loss is added up in float64; the gradient is accumulated by autograd in the dtype of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from homestretch import arguments, vectors
from homestretch.cost import CostMeter
from homestretch.objective.base import trainable
from homestretch.objective.batch_loss import Loss, check_reduction, no_sync, pair, warn_of_parameters, weighted
from homestretch.objective.batches import Batches, as_batches, pieces
from homestretch.objective.determinism import refuse_random, refuse_random_data
from homestretch.objective.guards import warn_of_strangers
from homestretch.objective.minibatch import MiniBatch, share_of_a_step
from homestretch.objective.modes import DROPOUTS, MODES, training_mode
from homestretch.objective.products import DatasetProducts
from homestretch.objective.progressive import Growth
from homestretch.objective.ranks import averages_always, group_of, refuse_uneven, refuse_unlike, sum_gradients, sums, together
from homestretch.objective.statistics import reestimate, tracking_layers


class Objective(DatasetProducts):
    """The mean loss of ``model`` over ``data``, usable as a torch closure.

    Example:
        >>> objective = Objective(model, torch.nn.functional.mse_loss, (inputs, targets))
        >>> objective()       # loss over all the data, .grad filled
        >>> objective.loss()  # forward passes only

    Args:
        model: The model; its trainable parameters are what is optimised.
        loss: ``loss(outputs, targets)``, the mean over the samples of the batch as a 0-d tensor (torch's default reduction).
            A loss that divides by anything else, as class weights and ``ignore_index`` do, makes the function depend on
            ``micro_batch``: write it as ``(weight[targets] * loss(..., reduction="none")).mean()``.
        data: A pair of tensors ``(inputs, targets)``, a map-style ``Dataset`` of such pairs, or a ``DataLoader``
            (whose data set, collation, batch size and ``drop_last`` are used; shuffling and ``drop_last`` do not apply to full
            passes; one with a sampler of its own is refused).
        batch_size: Samples in a mini-batch of the first phase.
        micro_batch: Samples in one piece of a full pass, which bounds its memory. If it is not given, ``batch_size``, or, for
            tensors outside mode ``"train"``, up to 512 samples of together 65,536 numbers, as small pieces only cost calls.
        seed: Decides the order of mini-batches, together with the epoch's number and nothing else.
        mode: What batch norm does during full passes: ``"eval"``: it takes its running statistics, which
            :meth:`settle` estimates anew at the swap; ``"train"``: it takes those of each micro-batch of the fixed partition.
        dropout: What dropout does during full passes: it is ``"off"``, or has a ``"fixed"`` mask for each micro-batch,
            decided by ``seed`` and the micro-batch's number.
        growth: How the data of the convex phase grow, if it shall begin on a part of them; see
            :class:`~homestretch.objective.progressive.Growth`. Whoever runs the phases uses it; this function itself is
            always over all the data.
        compute: ``compute(model, batch) -> (outputs, targets)`` for batches that are not pairs.
        group: Process group when each rank holds its own part of the data, by default that of a model in
            DDP or FSDP2: losses and gradients of full passes are then summed over it, and gradients of
            mini-batches averaged, unless the model's wrapper (DDP, FSDP) does that. Every rank must make the same number of
            mini-batches, from the same parameters. What is wrong with one rank's data is raised on all.
        meter: Where the cost is counted; a new one if not given.

    Raises:
        ValueError: If the data are empty, sizes disagree or a size is not positive, a ``DataLoader`` chooses its samples, or
            the loss sums over a batch.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: Any,
        *,
        batch_size: int | None = None,
        micro_batch: int | None = None,
        seed: int = 0,
        mode: str = "eval",
        dropout: str = "off",
        growth: Growth | None = None,
        compute: Callable[[nn.Module, Any], tuple[Any, Any]] | None = None,
        group: dist.ProcessGroup | None = None,
        meter: CostMeter | None = None,
    ) -> None:
        for name, value, known in (("mode", mode, MODES), ("dropout", dropout, DROPOUTS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        check_reduction(loss)
        group = group_of(model) if group is None else group
        if growth is not None and group is not None:
            raise ValueError("growth: data that are spread over a process group cannot grow, a part would be of one rank's own")
        self.model = model
        self.meter = meter or CostMeter()
        self.mode = mode
        self.dropout = dropout
        self.growth = growth
        self.seed = arguments.integer("seed", seed)
        self.version = 0
        self.settled = 0  # how many of the versions are due to statistics estimated anew
        self.group = group
        self.parameters: list[Tensor] = trainable(model)
        warn_of_parameters(loss, model)
        with together("data: reading this rank's share", group, self._device):
            self.batches: Batches = as_batches(data, batch_size=batch_size, micro_batch=micro_batch, widen=mode != "train")
        self._step_share = 0.0  # unknown
        self._looked = False  # whether the first loss was looked at
        self._met = group is None  # whether the ranks were seen to fit together
        # A sharded model's backward pass leaves the mean over so many ranks in place of the sum.
        self._averaged = 1 if group is None or not averages_always(model) else dist.get_world_size(group)
        self.make_products(self.parameters, model)
        self.sample_loss = loss
        self.compute = compute or pair
        self._total = self._sum_over_ranks(float(len(self.batches)))
        self.portion = 1.0  # of the whole data set, for a subset's passes

    @property
    def samples(self) -> int:
        """Number of samples in the data set, over all ranks."""
        return int(self._total)

    def __call__(self) -> Tensor:
        """The loss over all the data as a 0-d float64 tensor; fills ``.grad``."""
        self._meet()
        self.zero_grad()
        total: Tensor | float = 0.0
        with self.full_pass(), torch.enable_grad():
            for index, (batch, count) in enumerate(self.batches.full()):
                share = count / self._total
                loss = self._loss_of(batch, index)
                self.look_for_strangers(loss)
                (loss * (share * self._averaged)).backward()
                total = total + weighted(loss, share)
        if self._averaged == 1:
            sum_gradients(self.parameters, self.group)
        self.meter.count_gradient(self.portion)
        return torch.tensor(self._sum_over_ranks(float(total)), dtype=torch.float64)

    def loss(self) -> float:
        """The loss over all the data by forward passes only."""
        self._meet()
        total: Tensor | float = 0.0
        with self.full_pass():
            for index, (batch, count) in enumerate(self.batches.full()):
                total = total + weighted(self._forward_loss(batch, index), count / self._total)
        self.meter.count_forward(self.portion)
        return self._sum_over_ranks(float(total))

    def settle(self) -> str:
        """Estimate batch norm's running statistics anew at the present parameters, by a forward pass over all the data.

        In mode ``"eval"`` this is part of the swap: the statistics left by the first phase lag behind its parameters. In mode
        ``"train"`` it is of use at the end, when the model shall be evaluated. The function changes, and :attr:`version`.

        Returns:
            A sentence that says what was done; empty if the model has no such layers.

        Raises:
            ValueError: If no micro-batch is large enough for the layers to take statistics of.
        """
        layers = len(tracking_layers(self.model))
        if not layers:
            return ""
        seen = self.refresh_statistics()
        self.meter.count_forward(self.portion)
        self.version += 1
        self.settled += 1
        return f"running statistics of {layers} batch norms estimated anew over {seen} samples"

    def refresh_statistics(self) -> int:
        """Estimate the running statistics anew, uncounted and without a new version: for looks at the model in eval mode.

        Meant for mode ``"train"``, where the function does not depend on them.

        Returns:
            How many samples they are of.
        """
        forward = lambda batch: self.without_graph(lambda: self.compute(self.model, batch))  # noqa: E731
        with no_sync(self.model):
            return reestimate(self.model, self.batches.full(), forward, self.group)

    def minibatches(self, epoch: int) -> Iterator[MiniBatch]:
        """Closures for one epoch of mini-batches, in an order that depends on (seed, epoch) alone.

        Raises:
            ValueError: If the ranks of a group have different parameters, or different numbers of mini-batches: they would wait
                for each other.
        """
        self._meet()
        if self.group is not None and not self._step_share:
            self._step_share = share_of_a_step(self.batches, self.group, self._device)
        own = len(self.batches)
        with training_mode(self.model):
            for batch, count in self.batches.shuffled(self.seed, epoch):
                yield MiniBatch(self, batch, self._step_share or count / own, count / self._total)

    def part(self, share: float) -> Objective:
        """A subset of about this share of the data, on every rank alike."""
        return self.subset(min(max(round(share * len(self.batches)), 1), len(self.batches)))

    def subset(self, samples: int, *, draw: int = 0, skip: int = 0) -> Objective:
        """The same objective over ``samples`` of the data; shares model and meter.

        Args:
            samples: How many, on each rank. Nested in every larger subset of the same draw.
            draw: Number of the random order that they are taken from.
            skip: How many to leave out before them.
        """
        part = object.__new__(Objective)
        part.__dict__.update(self.__dict__)
        part.batches = self.batches.subset(samples, self.seed, draw, skip)
        part._total = self._sum_over_ranks(float(samples))
        part._step_share, part._met = 0.0, self.group is None
        part.portion = self.portion * part._total / self._total
        part.version = self.version + 1
        return part

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on must know of the function: how often it changed, and how its products are made."""
        return {"version": self.version, "settled": self.settled, "products": self.product_modes()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`'s result."""
        self.version, self.settled = int(state["version"]), int(state.get("settled", 0))
        self.take_product_modes(state["products"])

    def zero_grad(self) -> None:
        """Drop all gradients of the trainable parameters."""
        for p in self.parameters:
            p.grad = None

    def check_deterministic(self) -> None:
        """Read the first micro-batch twice, and evaluate it twice.

        Raises:
            NondeterministicLossError: If the two readings or the two losses differ, on any rank, with what is at fault.
        """
        with together("the check of the data", self.group, self._device):
            (batch, count), (again, _) = (next(iter(self.batches.full())) for _ in range(2))
        refuse_random_data(batch, again, self.group, self._device)
        share = self._sum_over_ranks(count / self._total)
        with self.full_pass():
            for _ in range(2):
                self.meter.count_forward(self.portion * share)
            refuse_random(self.model, lambda: float(self._forward_loss(batch, 0)), self.group, self._device)

    def look_for_strangers(self, loss: Tensor) -> None:
        """Once, at the first loss with its graph: warn of what it depends on and nothing trains, a loss module's own apart."""
        if not self._looked:
            self._looked = True
            own = self.sample_loss.parameters() if isinstance(self.sample_loss, nn.Module) else ()
            # Parameters that a wrapper has gathered are others than the shards.
            if self.group is None and not vectors.shard_groups(self.parameters):
                warn_of_strangers([loss], [*self.parameters, *own], "the loss")

    def _meet(self) -> None:
        """See once that the ranks fit together; not before there is work, as a state may be loaded until then."""
        if not self._met:
            refuse_unlike(self.model, self.parameters, self.group)
            if self._averaged > 1:
                refuse_uneven(pieces(self.batches), self.group, self._device)
            self._met = True

    def _forward_loss(self, batch: Any, index: int) -> Tensor:
        """The loss of a micro-batch by a forward pass."""
        return self.without_graph(lambda: self._loss_of(batch, index)).detach()

    @property
    def _device(self) -> torch.device:
        return self.parameters[0].device

    def _sum_over_ranks(self, value: float) -> float:
        return sums([value], self.group, self._device)[0]
