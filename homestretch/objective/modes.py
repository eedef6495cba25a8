"""Layers that behave differently in training: which mode a full pass uses, and which layers make a loss random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


@contextmanager
def full_pass_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Put ``model`` into the stated mode for a full pass and restore every module's own flag afterwards.

    In mode ``"train"`` batch norm normalises by the statistics of the micro-batch, without moving its running ones
    (a full pass must not change what the next one computes), and dropout stays off.
    """
    flags = [(m, m.training) for m in model.modules()]
    frozen = []
    model.eval()
    if mode == "train":
        for module, _ in flags:
            if isinstance(module, _BatchNorm):
                module.train()
                frozen.append((module, module.track_running_stats, module.running_mean, module.running_var))
                module.running_mean = module.running_var = None
                module.track_running_stats = False
    try:
        yield
    finally:
        for module, tracked, mean, variance in frozen:
            module.track_running_stats, module.running_mean, module.running_var = tracked, mean, variance
        _restore(flags)


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Training mode for mini-batches, with every module's own flag restored afterwards."""
    flags = [(m, m.training) for m in model.modules()]
    model.train()
    try:
        yield
    finally:
        _restore(flags)


def suspects(model: nn.Module) -> list[str]:
    """Names of the layers that make two evaluations differ: dropout and batch norm in training mode."""
    return [
        f"{name or 'model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if module.training and (isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0))
    ] or [
        f"{name or 'model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if isinstance(module, _DropoutNd) and module.p > 0
    ]


def _restore(flags: list[tuple[nn.Module, bool]]) -> None:
    for module, training in flags:
        module.training = training
