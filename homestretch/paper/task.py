"""From a problem's plain data to what is trained: the model, its loss, tensors on the device, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from homestretch.objective.batch_loss import Loss
from homestretch.objective.dataset import Objective
from homestretch.paper.data import load_data, one_hot
from homestretch.paper.models import build_gpt, build_model
from homestretch.paper.settings import LARGEST_SEED, Problem
from homestretch.paper.text import CONTEXT, load_text
from homestretch.training import Metric, evaluate

__all__ = ["Task", "accuracy", "load_task", "top_five"]

_TEXT, _GPT = "python-docs", "gpt-char"
_VERSIONS = 128  # of one compiled function at most
_TOP_FIVE_FROM = 20  # classes from which the five best say more than the best one does
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """What is trained, and on what.

    Attributes:
        model: The model, on the device.
        loss: ``loss(outputs, targets)``, the mean over a batch.
        train: Inputs and targets, on the device.
        validation: Likewise.
        metrics: What is measured besides the loss, by name.
        outputs: Number of classes M, as in the overdetermination ratio K M / P.
        batch: Samples in a mini-batch.
        micro_batch: Samples in one piece of a full pass.
        seed: Decides the order of the mini-batches.
    """

    model: nn.Module
    loss: Loss
    train: Pair
    validation: Pair
    metrics: dict[str, Metric]
    outputs: int
    batch: int
    micro_batch: int
    seed: int

    def objective(self) -> Objective:
        """The loss over the training data, with a meter of its own."""
        options = {"batch_size": self.batch, "micro_batch": self.micro_batch, "seed": self.seed}
        return Objective(self.model, self.loss, self.train, **options)

    def measure(self) -> dict[str, float]:
        """Loss and metrics over the training and over the validation data: ``train_loss``, ``validation_accuracy``, ..."""
        parts = {"train": self.train, "validation": self.validation}
        return {
            f"{part}_{name}": value
            for part, data in parts.items()
            for name, value in evaluate(self.model, self.loss, data, self.metrics).items()
        }


def load_task(problem: Problem) -> Task:
    """Load the data of a problem onto its device and build its model there.

    Raises:
        ValueError: If the problem is out of range, or the model does not take such data.
        DataError: If the data cannot be found or read.
    """
    check(problem)
    if problem.threads:
        torch.set_num_threads(problem.threads)
    data = (problem.data, problem.data_dir, problem.train_limit, problem.validation_limit, problem.device)
    if problem.data == _TEXT:
        train, validation, outputs, _ = _text(*data[2:])
        model: nn.Module = build_gpt(outputs, CONTEXT, seed=problem.seed)
        loss: Loss = cross_entropy
    else:
        train, validation, outputs, shape = _images(*data)
        model = build_model(problem.model, shape, outputs, problem.outputs, seed=problem.seed)
        loss = mse_loss
    metrics: dict[str, Metric] = {"accuracy": accuracy}
    if outputs >= _TOP_FIVE_FROM:
        metrics["top5"] = top_five
    model = model.to(problem.device)
    if problem.compile:
        _compile(model)
    micro = problem.micro_batch or largest_micro_batch(lambda n: _one_piece(model, loss, train, n), len(train[0]))
    return Task(model, loss, train, validation, metrics, outputs, problem.batch, micro, problem.seed)


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is at the target's class; classes in dimension 1."""
    return (outputs.argmax(1) == _labels(outputs, targets)).float().mean()


def top_five(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose target's class is among the five largest outputs; classes in dimension 1."""
    best = outputs.topk(5, dim=1).indices
    return (best == _labels(outputs, targets).unsqueeze(1)).any(1).float().mean()


def check(problem: Problem) -> None:
    """Refuse at the door what would only show after the data are loaded.

    Raises:
        ValueError: With the flag to change.
    """
    for name, count, least, remedy in (
        ("batch", problem.batch, 1, "give a number of samples"),
        ("micro-batch", problem.micro_batch, 0, "0 takes as many samples as the device holds"),
        ("threads", problem.threads, 0, "0 leaves it to torch"),
        ("train-limit", problem.train_limit, 1, "leave it out for all samples"),
        ("validation-limit", problem.validation_limit, 1, "leave it out for all samples"),
    ):
        if count is not None and count < least:
            raise ValueError(f"--{name} must be at least {least}, got {count}: {remedy}")
    if not 0 <= problem.seed <= LARGEST_SEED:
        raise ValueError(f"--seed must be from 0 to 2**63 - 1, got {problem.seed}: give another number")
    if (problem.data == _TEXT) != (problem.model == _GPT):
        raise ValueError(f"--data {_TEXT} and --model {_GPT} go together, got {problem.data} and {problem.model}")
    try:
        torch.empty(0, device=problem.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"device {problem.device!r} cannot be used here ({reason}): give --device cpu, or another") from error


def check_data(problem: Problem) -> None:
    """Refuse at the door data that are not there: one sample of each part is loaded.

    Raises:
        DataError: If the data cannot be found or read.
    """
    if problem.data == _TEXT:
        load_text(1, 1)
    else:
        load_data(problem.data, problem.data_dir, 1, 1)


def largest_micro_batch(attempt: Callable[[int], None], samples: int) -> int:
    """The largest of ``samples``, half of it, a quarter ... that ``attempt`` carries out without running out of memory.

    Raises:
        torch.OutOfMemoryError: If not even one sample fits.
    """
    size = samples
    while True:
        try:
            attempt(size)
            return size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = -(-size // 2)


def _compile(model: nn.Module) -> None:
    """Compile a model where it stands, for each size of its batches by itself.

    Batches have few sizes. Code for any size, torch's choice from the second on, fails for vgg5 on a CPU (torch 2.13).
    """
    from torch._dynamo import config

    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # its name in torch 2.6
    # A run takes a version for each size of its batches, with and without a graph, in train and in eval mode: a dozen; and
    # where torch compiles layer by layer, as with vgg5, for each layer (28 were seen). Beyond torch's limit of 8 it would go on
    # uncompiled, with no more than a warning.
    setattr(config, limit, max(getattr(config, limit), _VERSIONS))
    # All models of a process count towards one limit, as they share the functions that are compiled: those before this one go.
    torch.compiler.reset()
    model.compile(dynamic=False)


def _one_piece(model: nn.Module, loss: Loss, data: Pair, size: int) -> None:
    loss(model(data[0][:size]), data[1][:size]).backward()
    model.zero_grad()


def _labels(outputs: Tensor, targets: Tensor) -> Tensor:
    return targets.argmax(1) if targets.shape == outputs.shape else targets


@lru_cache(maxsize=1)
def _images(
    name: str, folder: Path | None, train_limit: int | None, validation_limit: int | None, device: str
) -> tuple[Pair, Pair, int, tuple[int, int, int]]:
    """Images and one-hot targets on the device; kept, as the cells of a table share them."""
    data = load_data(name, folder, train_limit, validation_limit)

    def pair(inputs: Tensor, labels: Tensor) -> Pair:
        return inputs.to(device), one_hot(labels, data.classes).to(device)

    train = pair(data.train_inputs, data.train_targets)
    return train, pair(data.validation_inputs, data.validation_targets), data.classes, data.image_shape


@lru_cache(maxsize=1)
def _text(train_limit: int | None, validation_limit: int | None, device: str) -> tuple[Pair, Pair, int, None]:
    data = load_text(train_limit, validation_limit)
    train = (data.train_inputs.to(device), data.train_targets.to(device))
    validation = (data.validation_inputs.to(device), data.validation_targets.to(device))
    return train, validation, len(data.alphabet), None
