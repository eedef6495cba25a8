r"""Second moments of the gradient, read from the state of whatever optimizer keeps them.

Each reader gives, for one parameter, the root :math:`\sqrt{\hat v} + \epsilon` of an estimate :math:`\hat v` of the mean
square of each entry of its gradient. They are told apart by the names of their state's entries, so optimizers from outside
torch that keep the same things under the same names are read too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch import vectors

State = dict[str, Any]


def root_mean_square(optimizer: Optimizer, parameter: Tensor, group: dict[str, Any]) -> Tensor | None:
    r""":math:`\sqrt{\hat v} + \epsilon` for one parameter; ``None`` if the optimizer keeps no second moments of it.

    Args:
        optimizer: Any torch optimizer.
        parameter: One of its parameters.
        group: The parameter's group.
    """
    state: State = optimizer.state.get(parameter, {})
    for names, reader in _READERS.items():
        if all(isinstance(state.get(name), Tensor) for name in names):
            found = reader(state, group)
            return found if found is not None and found.shape == vectors.local(parameter).shape else None
    return None


def _adam(state: State, group: dict[str, Any]) -> Tensor:
    r"""Adam and its kin: :math:`\hat v = v / (1 - \beta_2^t)` (Kingma and Ba, 2015)."""
    moment, betas, step = _entry(state, "exp_avg_sq"), group.get("betas"), _steps(state, group)
    if isinstance(state.get("Q"), list):
        moment, step = _rotated_back(moment, state["Q"]), step - 1.0  # its first step only finds the bases
    correction = 1.0 - float(betas[1]) ** step if betas is not None and step > 0 else 1.0
    return (moment / correction).sqrt() + _epsilon(group)


def _rotated_back(moment: Tensor, bases: list[Any]) -> Tensor:
    r"""The moments of the gradient's own entries from those in SOAP's eigenbases (Vyas et al., 2024).

    With the gradient :math:`G = Q_1 G' Q_2^T` and the entries of :math:`G'` uncorrelated, which is what the bases are for,
    :math:`E[G_{ij}^2] = \sum_{kl} Q_{1,ik}^2 Q_{2,jl}^2 E[G_{kl}'^2]`; likewise for any number of axes.
    """
    for axis, basis in enumerate(bases):
        if isinstance(basis, Tensor) and basis.numel():
            moment = torch.tensordot(basis.square(), moment.movedim(axis, 0), dims=1).movedim(0, axis)
    return moment


def _rms(state: State, group: dict[str, Any]) -> Tensor:
    """RMSprop and Adadelta: a running mean that is not corrected for its start at zero."""
    return _entry(state, "square_avg").sqrt() + _epsilon(group)


def _adamax(state: State, group: dict[str, Any]) -> Tensor:
    """Adamax: its running maximum of the gradient's size stands for the root, and contains the small number already."""
    return _entry(state, "exp_inf")


def _adagrad(state: State, group: dict[str, Any]) -> Tensor:
    """Adagrad: the sum of squares over the number of steps (Duchi, Hazan and Singer, 2011)."""
    return (_entry(state, "sum") / max(_steps(state, group), 1.0)).sqrt() + _epsilon(group)


def _adafactor(state: State, group: dict[str, Any]) -> Tensor:
    r"""Adafactor's factored moments :math:`v_{ij} = r_i c_j / \mathrm{mean}(r)` (Shazeer and Stern, 2018, algorithm 4)."""
    rows, columns = _entry(state, "row_var"), _entry(state, "col_var")
    mean = rows.mean(dim=-2, keepdim=True)
    return (rows @ columns / mean.clamp_min(torch.finfo(rows.dtype).tiny)).sqrt() + _epsilon(group)


def _adafactor_vector(state: State, group: dict[str, Any]) -> Tensor:
    """Adafactor's moments of a parameter with fewer than two dimensions."""
    return _entry(state, "variance").sqrt() + _epsilon(group)


_READERS: dict[tuple[str, ...], Callable[[State, dict[str, Any]], Tensor]] = {
    ("exp_avg_sq",): _adam,
    ("square_avg",): _rms,
    ("exp_inf",): _adamax,
    ("sum",): _adagrad,
    ("row_var", "col_var"): _adafactor,
    ("variance",): _adafactor_vector,
}


def _entry(state: State, name: str) -> Tensor:
    return vectors.local(state[name]).detach()


def _steps(state: State, group: dict[str, Any]) -> float:
    """Steps made: kept with the parameter, or in the group under a name of the library's own."""
    return float(state.get("step", group.get("k", group.get("step", 0))) or 0)


def _epsilon(group: dict[str, Any]) -> float:
    value = group.get("eps", 1e-8)
    # Adafactor has a pair here, neither of which is added to the root.
    return float(value) if isinstance(value, (int, float)) else 0.0
