"""What a loss over a data set is put together from: the losses of batches, and how they may be wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.utils._pytree import tree_leaves

from homestretch.errors import HomestretchWarning

Loss = Callable[[Any, Any], Tensor]
Compute = Callable[[nn.Module, Any], tuple[Any, Any]]


def check_reduction(loss: Loss) -> None:
    """Refuse a sum over a batch, which is not the mean that batches are put together by; a mean with weights is only nearly.

    Raises:
        ValueError: If the loss is a module of torch's with another reduction.
    """
    name = type(loss).__name__
    if isinstance(loss, _Loss) and loss.reduction in ("sum", "none"):
        raise ValueError(
            f"loss must be the mean over the batch, got {name} with reduction={loss.reduction!r}: use reduction='mean'"
        )
    if isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) and loss.weight is not None:
        warnings.warn(
            f"{name} with class weights divides by the weights of each micro-batch: the function depends on micro_batch. For "
            "the exact one use lambda o, t: (weight[t] * cross_entropy(o, t, reduction='none')).mean()",
            HomestretchWarning,
            stacklevel=3,
        )


def warn_of_parameters(loss: Loss, model: nn.Module) -> None:
    """Say that what a loss could learn, and the model does not hold, is not trained: learned weights of terms, for instance."""
    if not isinstance(loss, nn.Module):
        return
    known = {id(p) for p in model.parameters()}
    own = [name for name, p in loss.named_parameters() if p.requires_grad and id(p) not in known]
    if own:
        names = ", ".join(own[:3]) + (", ..." if len(own) > 3 else "")
        warnings.warn(
            f"{type(loss).__name__} has trainable parameters that the model does not hold and that will not be trained "
            f"({names}): make it a submodule of the model to train them, or call loss.requires_grad_(False)",
            HomestretchWarning,
            stacklevel=3,
        )


def pair(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Outputs and targets of a batch that is a pair.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"a batch must be a pair (inputs, targets), got {_kind(batch)}: give Objective a `compute(model, batch)` that "
            "returns outputs and targets"
        )
    return model(batch[0]), batch[1]


@contextmanager
def dtypes_explained(model: nn.Module, batch: Any) -> Iterator[None]:
    """Say which dtypes model and data have where torch only says that two do not agree."""
    try:
        yield
    except RuntimeError as error:
        found = {str(t.dtype) for t in tree_leaves(batch) if isinstance(t, Tensor) and t.is_floating_point()}
        own = {str(p.dtype) for p in model.parameters()}
        if found and found.isdisjoint(own) and ("dtype" in str(error) or "scalar type" in str(error)):
            error.add_note(
                f"the model's parameters are {', '.join(sorted(own))} and the data {', '.join(sorted(found))}: cast the data "
                "or the model, by model.float() or model.double(); a run with promote=True may leave it in float64"
            )
        raise


def one_number(loss: Any) -> Tensor:
    """What a loss function returned, as a 0-d tensor.

    Raises:
        TypeError: If it is no tensor, or a complex one.
        ValueError: If it is more than one number.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"loss must return the mean over the batch as a 0-d tensor, got {_kind(loss)}: return the tensor that is to be "
            "minimised, alone and without float() or .item()"
        )
    if loss.is_complex():
        raise TypeError(f"loss must return a real number, got {loss.dtype}: the mean of |z|^2 is z.abs().square().mean()")
    if loss.numel() != 1:
        raise ValueError(
            f"loss must return the mean over the batch as one number, got shape {tuple(loss.shape)}: use reduction='mean'"
        )
    return loss.reshape(())


def _kind(value: Any) -> str:
    """The type of a value, with its length where that is likely what is wrong."""
    name = type(value).__name__
    return f"{name} of {len(value)}" if isinstance(value, (tuple, list, dict)) else name


def weighted(loss: Tensor, share: float) -> Tensor:
    """A share of a loss in float64, where the device has that."""
    wide = torch.float32 if loss.device.type == "mps" else torch.float64
    return loss.detach().to(wide) * share


def no_sync(model: nn.Module) -> AbstractContextManager[Any]:
    """A data-parallel wrapper averages gradients at every backward; ours are summed once, at the end of the pass."""
    no_sync = getattr(model, "no_sync", None)
    return no_sync() if callable(no_sync) else nullcontext()
