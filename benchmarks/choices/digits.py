"""The embedded handwritten digits as a problem: a small network, softmax, squared error on one-hot targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.sciml.networks import tanh_network
from benchmarks.sciml.problem import Points, Problem, WarmUp
from homestretch import Objective
from homestretch.paper.data.digits import read_digits
from homestretch.paper.data.image_data import one_hot


class Digits(Problem):
    """1,437 images of 8 x 8 pixels, one hidden layer; the error is the share of the other 360 that is classified wrongly.

    Our methods get it as an `Objective` over a data set, which offers no residuals.
    """

    def __init__(self, seed: int = 0, hidden: int = 24, warm_up: WarmUp | None = None) -> None:
        self.name = "digits"
        self.module = tanh_network((64, hidden, 10), seed).append(nn.Softmax(dim=1))
        self.warm_up = warm_up or WarmUp(steps=200)
        images, others = read_digits()
        self.inputs, self.targets = _tensors(images)
        self.held_out = {"data": _tensors(others)}

    @property
    def points(self) -> Points:
        return {"data": (self.inputs, self.targets)}

    def terms(self, module: nn.Sequential, points: Points) -> dict[str, torch.Tensor]:
        inputs, targets = points["data"]
        return {"data": module(inputs) - targets}

    def least_squares(self) -> Any:
        objective = Objective(self.module, nn.functional.mse_loss, (self.inputs, self.targets), micro_batch=len(self.inputs))
        objective.flops_per_gradient = self.gradient_flops()  # type: ignore[attr-defined]
        return objective

    @torch.no_grad()
    def error(self) -> float:
        inputs, targets = self.held_out["data"]
        return float((self.module(inputs).argmax(1) != targets.argmax(1)).double().mean())


def _tensors(images: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.from_numpy(images.pixels).reshape(len(images.pixels), -1).double() / 16.0
    return pixels, one_hot(torch.from_numpy(images.labels), 10, torch.float64)
