"""Optimizers that keep averaged weights beside those they take gradients at.

What such an optimizer has found is the average: that is where the convex phase starts and what a user wants to look at.
Two kinds are known: those with ``eval()`` and ``train()`` that put the one or the other into the parameters
(schedule-free methods, Defazio et al., 2024), and torch's ``ASGD``, which keeps the average in its state (Polyak and
Juditsky, 1992; it begins to average after ``t0`` steps, until then the average is the point itself).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim import Optimizer

_AVERAGE = "ax"  # ASGD's
_POINT = "z"  # the schedule-free methods' point that the average is taken of
_ASIDE = "z before the swap"  # its name in the convex phase, in which eval() and train() are to leave the parameters alone


@torch.no_grad()
def use_averaged_weights(first: Optimizer) -> bool:
    """Put the averaged weights into the parameters; says whether there were any that differ."""
    switch = getattr(first, "eval", None)
    if callable(switch):
        switch()
        return True
    moved = False
    for p, state in first.state.items():
        average = state.get(_AVERAGE)
        if isinstance(average, torch.Tensor) and not torch.equal(average, p):
            p.copy_(average)
            moved = True
    return moved


def use_training_weights(first: Optimizer) -> None:
    """Go back to the weights that gradients are taken at, where the optimizer itself knows them."""
    switch = getattr(first, "train", None)
    if callable(switch):
        switch()


def set_points_aside(first: Optimizer) -> None:
    """Let calls of the optimizer's ``eval()`` and ``train()``, which its users' loops are full of, change nothing from now on.

    Both move the parameters along the line to the point that is set aside, wherever they have got to since.
    """
    for state in first.state.values():
        if callable(getattr(first, "train", None)) and isinstance(state.get(_POINT), torch.Tensor):
            state[_ASIDE] = state.pop(_POINT)


@torch.no_grad()
def go_on_from_here(first: Optimizer) -> None:
    """Let the optimizer go on from the parameters as they are: the average and its points all begin anew from them."""
    for p, state in first.state.items():
        if _ASIDE in state:
            state[_POINT] = state.pop(_ASIDE)
        for name in (_AVERAGE, _POINT) if callable(getattr(first, "train", None)) else (_AVERAGE,):
            if isinstance(state.get(name), torch.Tensor):
                state[name].copy_(p)
    use_training_weights(first)


@contextmanager
def averaged_weights(first: Optimizer) -> Iterator[None]:
    """The averaged weights for as long as this lasts; the parameters are then put back bit for bit."""
    saved = [(p, p.detach().clone()) for group in first.param_groups for p in group["params"]] if keeps_averages(first) else []
    if saved:
        use_averaged_weights(first)
    try:
        yield
    finally:
        if saved:
            use_training_weights(first)
            with torch.no_grad():
                for p, value in saved:
                    p.copy_(value)


def keeps_averages(first: Optimizer) -> bool:
    """Whether the optimizer has averaged weights."""
    return callable(getattr(first, "eval", None)) or any(_AVERAGE in state for state in first.state.values())
