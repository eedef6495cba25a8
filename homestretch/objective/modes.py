"""Layers that behave differently in training: what they do during a full pass, which must be a fixed function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from homestretch.objective.ranks import reshard

MODES = ("eval", "train")
DROPOUTS = ("off", "fixed")


@contextmanager
def full_pass_mode(model: nn.Module, mode: str, dropout: str = "off") -> Iterator[None]:
    """Put ``model`` into the stated mode for a full pass and restore every module's own flag afterwards.

    Args:
        model: The model.
        mode: ``"eval"``: batch norm normalises by its running statistics. ``"train"``: by the statistics of the micro-batch,
            without moving its running ones (a full pass must not change what the next one computes). Frozen norms, see
            :func:`in_training`, keep to their running statistics.
        dropout: ``"off"``, or ``"fixed"``: everything but the norms is in training mode, frozen layers excepted, and torch's
            random state is put back at the end, so that :func:`fix_masks` may set it.
    """
    flags, trained = [(m, m.training) for m in model.modules()], in_training(model)
    set_aside = []
    model.eval()
    for module, trains in trained:
        if not isinstance(module, _NormBase):
            module.training = trains and dropout == "fixed"
        elif trains and mode == "train":
            module.training = True
            set_aside.append((module, module.track_running_stats, module.running_mean, module.running_var))
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    try:
        with _random_state_put_back(model) if dropout == "fixed" else nullcontext():
            yield
    finally:
        for module, tracked, mean, variance in set_aside:
            module.track_running_stats, module.running_mean, module.running_var = tracked, mean, variance
        _restore(flags)
        reshard(model)


def fix_masks(seed: int, index: int) -> None:
    """Make the dropout masks of the next evaluation a function of the seed and the micro-batch's number alone."""
    torch.manual_seed((seed * 0x9E3779B1 + index * 0xC2B2AE35 + 0x27D4EB2F) % 2**63)


@contextmanager
def single_samples_explained(explain: Callable[[], str]) -> Iterator[None]:
    """Say what to do where torch only says that batch norm cannot normalise a single value.

    Args:
        explain: Makes the message.

    Raises:
        ValueError: In place of torch's.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(explain()) from error


def in_training(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Each module with its flag in training.

    A layer that is in eval mode while the model is in training mode is frozen, and stays so. A model that is in eval mode as a
    whole was evaluated last: there ``model.train()`` decides, which a class may override to keep layers frozen.
    """
    flags = [(m, m.training) for m in model.modules()]
    if model.training:
        return flags
    model.train()
    trained = [(m, m.training) for m in model.modules()]
    _restore(flags)
    return trained


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Training mode for mini-batches, frozen layers excepted, with every module's own flag restored afterwards."""
    flags = [(m, m.training) for m in model.modules()]
    _restore(in_training(model))
    try:
        yield
    finally:
        _restore(flags)


def _random_state_put_back(model: nn.Module) -> AbstractContextManager[None]:
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return torch.random.fork_rng(devices=[device.index for device in devices])


def _restore(flags: list[tuple[nn.Module, bool]]) -> None:
    for module, training in flags:
        module.training = training
