"""An image set in memory: plain tensors, so that a mini-batch is an index and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ImageData", "one_hot"]


@dataclass(frozen=True)
class ImageData:
    """Images and labels, split for training and validation.

    Args:
        name: Name of the set.
        train_inputs: float32 of shape `(samples, channels, height, width)`, normalised.
        train_targets: int64 labels of shape `(samples,)`.
        validation_inputs: As `train_inputs`.
        validation_targets: As `train_targets`.
        classes: Number of labels; they run from 0 to `classes - 1`.
    """

    name: str
    train_inputs: Tensor
    train_targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor
    classes: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)` of one image."""
        _, channels, height, width = self.train_inputs.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> ImageData:
        """The same data on `device`, where a whole set of the paper fits and batches need no copying."""
        return ImageData(
            self.name,
            self.train_inputs.to(device),
            self.train_targets.to(device),
            self.validation_inputs.to(device),
            self.validation_targets.to(device),
            self.classes,
        )


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Targets of the squared error: 1 at the label, 0 elsewhere.

    Args:
        labels: Integer labels of shape `(samples,)`, from 0 to `classes - 1`.
        classes: Number of outputs.
        dtype: Type of the result.

    Returns:
        A tensor of shape `(samples, classes)` on the device of `labels`.
    """
    return torch.nn.functional.one_hot(labels.long(), classes).to(dtype)
