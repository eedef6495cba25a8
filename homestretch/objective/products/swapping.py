"""Other tensors in the place of a model's parameters, and kernels that can be differentiated twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from homestretch import vectors
from homestretch.vectors import Vector


@contextmanager
def swapped(model: nn.Module, parameters: Sequence[Tensor], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Put ``tensors`` in the place of ``parameters`` wherever ``model`` holds them (tied ones included), then restore."""
    instead = {id(p): t for p, t in zip(parameters, tensors, strict=True)}
    places = [
        (module._parameters, name, p)
        for module in model.modules()
        for name, p in module._parameters.items()
        if p is not None and id(p) in instead
    ]
    try:
        for holder, name, p in places:
            holder[name] = instead[id(p)]  # type: ignore[assignment]
        yield
    finally:
        for holder, name, p in places:
            holder[name] = p


@contextmanager
def tangents(model: nn.Module, parameters: Sequence[Tensor], vector: Vector) -> Iterator[Vector]:
    """Give each of a model's parameters its part of ``vector`` as a tangent; yields the parameters that carry them."""
    with warnings.catch_warnings():
        # torch's forward mode scripts its decompositions the first time, which torch itself has deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(p, v) for p, v in zip(parameters, vector, strict=True)]
            with swapped(model, parameters, duals):
                yield duals


@contextmanager
def kept(parameters: Sequence[Tensor]) -> Iterator[tuple[Vector, Vector]]:
    """Yields where the parameters may be overwritten for a while, and what they are; then they are put back bit for bit.

    The places are ``.data``, which leaves the tensors' versions alone: to everyone else nothing has happened.
    """
    places = [p.data for p in parameters]
    start = vectors.clone(places)
    try:
        yield places, start
    finally:
        vectors.copy_(places, start)


@contextmanager
def moved(parameters: Sequence[Tensor], direction: Vector, step: float) -> Iterator[None]:
    """Move the parameters by ``step * direction``, then put them back bit for bit."""
    with kept(parameters) as (places, start):
        vectors.assign_sum_(places, start, direction, step)
        yield


@contextmanager
def smooth_kernels() -> Iterator[None]:
    """Use kernels whose derivatives of higher order exist, and restore the choice of kernels after.

    The fused attention kernels have no forward-mode derivative and no second one; the kernels of squared error and SiLU
    have no forward-mode derivative of their backward pass, that of weight normalisation has none and a wrong second derivative:
    these are written out.
    """
    with sdpa_kernel(SDPBackend.MATH), _Formulas():
        yield


def difference_step(parameters: Sequence[Tensor], vector: Vector, groups: Sequence[dist.ProcessGroup] = ()) -> float:
    r"""A step for central differences along ``vector``: the cube root of the rounding unit, by the parameters' size.

    Whether parameters of a small norm are small by their units or near zero by chance is not to be known. A step by
    :math:`|\theta|^{2/3}` then errs alike in both cases, by about :math:`(\epsilon / |\theta|)^{2/3}`: by its length in the
    first, by rounding in the second. The step is the same on all ranks of ``groups``, which hold parts of both.
    """
    length, size = vectors.norm(vector, groups), vectors.norm(vectors.locals_of(parameters), groups)
    eps = max(vectors.working_eps(p.dtype) for p in parameters)
    scale = size if size >= 1.0 else size ** (2.0 / 3.0) or 1.0
    return eps ** (1.0 / 3.0) * scale / length if length > 0.0 else 1.0


class _Formulas(TorchFunctionMode):
    """Writes a few functions out as formulas."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None) -> Any:
        formula = _FORMULAS.get(func)
        return (formula or func)(*args, **(kwargs or {}))


def _mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared error, as ``torch.nn.functional.mse_loss``."""
    if size_average is not None or reduce is not None or weight is not None:
        return _MSE(input, target, size_average, reduce, reduction, weight)  # type: ignore[arg-type]
    return _reduced((input - target).square(), reduction)


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return {"mean": losses.mean, "sum": losses.sum, "none": lambda: losses}[reduction]()


def _silu(input: Tensor, inplace: bool = False) -> Tensor:
    return input * torch.sigmoid(input)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Weight normalisation, as ``torch.nn.utils.parametrizations.weight_norm`` does it."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


_MSE = torch.nn.functional.mse_loss
_FORMULAS: dict[Any, Callable[..., Tensor]] = {
    torch.nn.functional.mse_loss: _mse_loss,
    torch.nn.functional.silu: _silu,
    torch._weight_norm: _weight_norm,
}
