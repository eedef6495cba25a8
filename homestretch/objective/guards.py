r"""What goes wrong with fits without an error: overfitted points, what nothing trains, broadcasting, a short dtype's floor.

All are said in a warning with the figures of the case. Rounding is measured: with :math:`\rho` in the fit's dtype and
:math:`\hat\rho` in float64 at the same parameters, the loss :math:`\|\rho\|^2` is uncertain by up to
:math:`2 \|\rho\| \|\rho - \hat\rho\|` (Cauchy and Schwarz), so what a step gains can be seen only above
:math:`2 \|\rho - \hat\rho\| / \|\rho\|` of it. Long before rounding is as large as the loss, that is more than any step gains.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from homestretch.errors import HomestretchWarning, OverfitWarning
from homestretch.objective.points import Points, cast, over

_RESOLVED = 1e-5  # a loss known better than to this share of it is not held up by rounding, but by something else


def warn_of_overfit(parameters: int, residuals: int, terms: int = 0) -> None:
    """Warn if a fit has more parameters than residuals, and say where each of the terms is a single number."""
    if parameters <= residuals:
        return
    single = "Each term is a single number here: return residuals as they are, one a point, neither squared nor averaged. "
    warnings.warn(
        f"{parameters} parameters are fitted to {residuals} residuals: a method that converges can make the loss vanish there "
        "while the solution between the points is wrong, and the loss will not tell. "
        f"{single if residuals == terms else ''}Take more points or a smaller network, "
        "redraw the points (redraw=...), or watch the residual at other points (held_out=...)",
        OverfitWarning,
        stacklevel=4,
    )


def warn_of_strangers(values: Iterable[Tensor], known: Iterable[Tensor], what: str) -> None:
    """Warn of parameters that a function depends on and nothing trains: a second network, an unknown coefficient.

    Points may ask for gradients as well: what is no ``nn.Parameter`` counts only if it is a single number.

    Args:
        values: What was evaluated, with its graph.
        known: The parameters that are trained, or that the user knows of.
        what: What was evaluated, for the message.
    """
    ours = {id(p) for p in known}
    strangers = [t for t in _leaves(values) if id(t) not in ours and _looks_trainable(t)]
    if strangers:
        shapes = ", ".join(str(tuple(t.shape)) for t in strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        warnings.warn(
            f"{what} depends on tensors with requires_grad that the objective was not made over and that will not be trained "
            f"({len(strangers)}, of shapes {shapes}): make them parameters of the model first (several networks are one "
            "nn.ModuleDict) to train them, or call requires_grad_(False) on them to keep them as they are",
            HomestretchWarning,
            stacklevel=4,
        )


def _looks_trainable(leaf: Tensor) -> bool:
    return isinstance(leaf, nn.Parameter) or (leaf.ndim < 2 and leaf.numel() == 1)


def _leaves(values: Iterable[Tensor]) -> list[Tensor]:
    """The tensors that a graph accumulates gradients in."""
    seen, found = set(), []
    left = [value.grad_fn for value in values]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        found += [leaf] if isinstance(leaf, Tensor) else []
        left += [before for before, _ in node.next_functions]
    return found


def warn_of_broadcast(terms: Mapping[str, Tensor], points: Points) -> None:
    """Warn of a residual for every pair of points, as values of shape (N,) taken from outputs of shape (N, 1) make them."""
    lengths: set[int] = set()
    over(points, lambda t: (lengths.add(len(t) if t.ndim else 0), t)[1])
    for name, r in terms.items():
        if r.ndim == 2 and r.shape[0] == r.shape[1] > 1 and len(r) in lengths:
            warnings.warn(
                f"the residual term {name!r} has shape {tuple(r.shape)} over {len(r)} points, an entry for every pair of them: "
                "if values of shape (N,) were taken from outputs of shape (N, 1), unsqueeze(1) the values",
                HomestretchWarning,
                stacklevel=4,
            )


def widened(model: nn.Module, points: Points) -> tuple[nn.Module, Points]:
    """A copy of a module, and points, in float64."""
    return copy.deepcopy(model).double(), cast(points, torch.float64)


def explain_floor(loss: float, rounding: float, dtype: torch.dtype) -> str:
    """Why a search finds no lower loss in a short dtype; empty if the loss is not at its floor.

    Args:
        loss: The loss.
        rounding: Sum of the squares of the residuals' rounding errors, NaN if it is not known.
        dtype: The dtype of the parameters.
    """
    name = str(dtype).removeprefix("torch.")
    remedy = (
        "To go on from here in float64, call objective.promote(), which promotes model and points, and make further steps; "
        "constants inside the residual function must be float64 or Python numbers"
    )
    if math.isnan(rounding):
        return f"no lower loss than {loss:.3g} was found in {name}, and rounding may be why. {remedy}"
    share = 2.0 * math.sqrt(rounding / loss) if loss > 0.0 else math.inf
    if share < _RESOLVED:
        return ""
    return (
        f"the loss {loss:.3g} is at the floor of {name}: against the residuals in float64 at the same parameters, rounding "
        f"leaves it uncertain by up to {share:.1g} of itself, more than the steps that are left would gain. {remedy}"
    )
