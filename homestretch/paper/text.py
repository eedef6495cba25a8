"""Real text that comes with Python: the help topics of ``pydoc_data.topics``, character by character."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor

from homestretch.errors import DataError

__all__ = ["CONTEXT", "TextData", "load_text"]

CONTEXT = 64
"""Characters in one sample."""
_VALIDATION = 10  # one block of samples in so many is for validation
_BLOCK = 8  # samples in a block: neighbours share their subject, single ones would leak it


@dataclass(frozen=True)
class TextData:
    """Characters as numbers, split for training and validation.

    Attributes:
        train_inputs: int64 of shape ``(samples, CONTEXT)``: each sample's characters.
        train_targets: Likewise, the characters that follow each.
        validation_inputs: As ``train_inputs``.
        validation_targets: As ``train_targets``.
        alphabet: The characters by their numbers.
    """

    train_inputs: Tensor
    train_targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor
    alphabet: str


def load_text(train_limit: int | None = None, validation_limit: int | None = None) -> TextData:
    """The help topics of this Python, cut into samples of ``CONTEXT`` characters in a fixed shuffled order.

    The text differs a little between versions of Python. One block of eight neighbouring samples in ten is for validation.

    Args:
        train_limit: Only the first so many training samples.
        validation_limit: Only the first so many validation samples.

    Raises:
        DataError: This Python has no help topics.
    """
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError("this Python comes without pydoc_data.topics, the text of its help: take another build") from error
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = "".join(sorted(set(text)))
    numbers = {character: number for number, character in enumerate(alphabet)}
    codes = torch.tensor([numbers[character] for character in text])
    samples = (len(codes) - 1) // CONTEXT
    inputs = codes[: samples * CONTEXT].view(samples, CONTEXT)
    targets = codes[1 : samples * CONTEXT + 1].view(samples, CONTEXT)
    held_out = (torch.arange(samples) // _BLOCK) % _VALIDATION == _VALIDATION - 1
    train, validation = (_shuffled(part) for part in (~held_out, held_out))
    train, validation = train[:train_limit], validation[:validation_limit]
    return TextData(inputs[train], targets[train], inputs[validation], targets[validation], alphabet)


def _shuffled(mask: Tensor) -> Tensor:
    """The positions where ``mask`` holds, in a fixed order, so that any first ones are a fair subset."""
    found = mask.nonzero().squeeze(1)
    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
