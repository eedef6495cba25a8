"""A convex phase in float64 for a model that was trained in float32.

Near a minimum the differences of a loss drown in its rounding: at relative distance 1e-7 from the minimal loss, float32 can
tell no step from another, whatever the method. Sums in float64 do not help, as every activation is rounded; parameters,
buffers and data have to be longer. This costs twice the memory and, on processors, about twice the time; on most graphics
processors far more.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from homestretch.errors import UnsupportedError
from homestretch.objective.batches import Batches
from homestretch.objective.dataset import Objective
from homestretch.objective.least_squares import LeastSquares


def promote(objective: Objective | LeastSquares, dtype: torch.dtype = torch.float64) -> Promotion:
    """Go on in a longer dtype: parameters, buffers and data of ``objective`` are cast in place, the parameters stay the same.

    Optimizers of this package that hold the parameters notice at their next step: their state is cast, so that nothing that
    was learned is lost, and what rounding can do to a loss is measured anew.

    Example:
        >>> optimizer.minimize(objective, 1000)   # stops: no step lowers the loss at this precision
        >>> promotion = promote(objective)
        >>> optimizer.minimize(objective, 1000)   # goes on from there
        >>> promotion.undo()                      # back to float32; or `with promote(objective): ...`

    Raises:
        UnsupportedError: If the device has no such dtype, the parameters are complex or sharded, or the function cannot be
            evaluated in it.
    """
    promotion = Promotion(objective, dtype)
    promotion.apply()
    return promotion


class Promotion:
    """Parameters, buffers and data of an objective in a longer dtype, from :meth:`apply` until :meth:`undo`.

    Args:
        objective: The objective.
        dtype: The longer dtype.

    Attributes:
        active: Whether it is in force.
    """

    def __init__(self, objective: Objective | LeastSquares, dtype: torch.dtype = torch.float64) -> None:
        self.active = False
        self._objective = objective
        self._dtype = dtype
        self._dtypes: dict[Tensor, torch.dtype] = {}
        self._batches: Batches | None = None

    def apply(self, *, check: bool = True) -> str:
        """Cast; returns what was done as a sentence.

        Args:
            check: Evaluate the loss once (a forward pass, which is counted), to see that nothing in it has the old dtype.

        Raises:
            UnsupportedError: As :func:`promote`; everything is then as it was, as after an error of the loss's own.
        """
        if self.active:
            return f"already in {_name(self._dtype)}"
        tensors = [t for t in self._tensors() if t.is_floating_point() or t.is_complex()]
        for t in tensors:
            _refuse(t, self._dtype)
        self._dtypes = {t: t.dtype for t in tensors if torch.finfo(t.dtype).eps > torch.finfo(self._dtype).eps}
        for t in self._dtypes:
            _cast(t, self._dtype)
        self._cast_data()
        self.active = True
        if check:
            self._check()
        before = ", ".join(sorted({_name(d) for d in self._dtypes.values()})) or _name(self._dtype)
        return f"promoted from {before} to {_name(self._dtype)}"

    def undo(self) -> str:
        """Cast back what was cast; returns what was done as a sentence."""
        if not self.active:
            return "nothing was promoted"
        for t, dtype in self._dtypes.items():
            _cast(t, dtype)
        self._cast_data_back()
        self.active = False
        return f"back from {_name(self._dtype)}"

    def __enter__(self) -> Promotion:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.undo()

    def _tensors(self) -> list[Tensor]:
        """Everything that takes part in the loss and lasts: parameters and buffers, frozen ones and the loss's own included."""
        holders = [self._objective.model, getattr(self._objective, "sample_loss", None)]
        found: dict[Tensor, None] = dict.fromkeys(self._objective.parameters)
        for module in holders:
            if isinstance(module, nn.Module):
                found.update(dict.fromkeys([*module.parameters(), *module.buffers()]))
        return list(found)

    def _cast_data(self) -> None:
        if isinstance(self._objective, LeastSquares):
            self._objective.lengthen_points(self._dtype)
        else:
            self._batches = self._objective.batches
            self._objective.batches = CastBatches(self._batches, self._dtype)

    def _cast_data_back(self) -> None:
        if isinstance(self._objective, LeastSquares):
            self._objective.shorten_points()
        elif self._batches is not None:
            self._objective.batches = self._batches

    def _check(self) -> None:
        try:
            self._objective.loss()
        except BaseException as error:  # an interruption must not leave a model in another dtype either
            self.undo()
            if not isinstance(error, RuntimeError):
                raise
            reason = str(error).strip().splitlines()[0]
            raise UnsupportedError(
                f"the loss cannot be evaluated in {_name(self._dtype)}: {reason}. Constants inside it must follow the "
                "parameters: make them buffers of the model, part of the data, or of the dtype of what they meet"
            ) from error


class CastBatches:
    """Batches with their floating-point tensors cast, one batch at a time.

    Args:
        batches: The batches.
        dtype: The dtype to cast to.
    """

    def __init__(self, batches: Batches, dtype: torch.dtype) -> None:
        self._batches = batches
        self._dtype = dtype
        self.batch_size, self.micro_batch = batches.batch_size, batches.micro_batch

    def __len__(self) -> int:
        return len(self._batches)

    def full(self) -> Iterator[tuple[Any, int]]:
        """The micro-batches, cast."""
        return ((cast_floats(batch, self._dtype), count) for batch, count in self._batches.full())

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[Any, int]]:
        """The mini-batches, cast."""
        return ((cast_floats(batch, self._dtype), count) for batch, count in self._batches.shuffled(seed, epoch))

    def subset(self, samples: int, seed: int, draw: int = 0, skip: int = 0) -> CastBatches:
        """The subset, cast."""
        return CastBatches(self._batches.subset(samples, seed, draw, skip), self._dtype)


def cast_floats(tree: Any, dtype: torch.dtype) -> Any:
    """``tree`` (tensors in tuples, lists and dictionaries) with its floating-point tensors cast to ``dtype``."""
    if isinstance(tree, Tensor):
        return tree.to(dtype) if tree.is_floating_point() else tree
    if isinstance(tree, dict):
        return {key: cast_floats(value, dtype) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        values = [cast_floats(value, dtype) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree


def _cast(tensor: Tensor, dtype: torch.dtype) -> None:
    """Cast in place: to optimizers and modules it stays the same tensor."""
    gradient = tensor.grad
    tensor.grad = None
    tensor.data = tensor.data.to(dtype)
    if gradient is not None:
        tensor.grad = gradient.to(dtype)


def _refuse(tensor: Tensor, dtype: torch.dtype) -> None:
    if tensor.is_complex():
        raise UnsupportedError(f"a tensor of shape {tuple(tensor.shape)} is complex ({tensor.dtype}) and is not promoted")
    if hasattr(tensor, "to_local"):
        raise UnsupportedError(
            "sharded parameters cannot be cast in place: build the model in the longer dtype before sharding"
        )
    if not has_dtype(tensor.device, dtype):
        raise UnsupportedError(
            f"the device {tensor.device} has no {_name(dtype)}: move model and data to the CPU for the convex phase, or stay "
            f"in {_name(tensor.dtype)}"
        )


def has_dtype(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of ``dtype`` can be made on ``device``."""
    try:
        torch.zeros(1, dtype=dtype, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
