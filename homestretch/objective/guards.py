r"""What goes wrong with least-squares fits without an error: overfitted points, and the floor of a short dtype.

Both are said in a warning with the figures of the case. Rounding is measured: with :math:`\rho` in the fit's dtype and
:math:`\hat\rho` in float64 at the same parameters, the loss :math:`\|\rho\|^2` is uncertain by up to
:math:`2 \|\rho\| \|\rho - \hat\rho\|` (Cauchy and Schwarz), so what a step gains can be seen only above
:math:`2 \|\rho - \hat\rho\| / \|\rho\|` of it. Long before rounding is as large as the loss, that is more than any step gains.
"""

from __future__ import annotations

import copy
import math
import warnings

import torch
from torch import nn

from homestretch.errors import OverfitWarning
from homestretch.objective.points import Points, cast

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
