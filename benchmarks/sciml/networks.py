"""The networks of the benchmark: tanh layers, Xavier-normal weights, zero biases, float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from homestretch.objective.activations import Tanh


def tanh_network(widths: Sequence[int], seed: int) -> nn.Sequential:
    """Return a fully connected tanh network of the given widths, input and output included, drawn from `seed`.

    Weights are normal with variance `2 / (fan_in + fan_out)` (Glorot and Bengio, 2010), biases zero.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        layer = nn.Linear(before, after, dtype=torch.float64)
        nn.init.xavier_normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [Tanh(), layer] if i else [layer]
    return nn.Sequential(*layers)
