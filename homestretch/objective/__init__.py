"""What is minimised: a user's closure, the loss over a whole data set, or a sum of squared residuals."""

from homestretch.objective.base import Function, describe
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.dataset import Objective
from homestretch.objective.least_squares import LeastSquares
from homestretch.objective.minibatch import MiniBatch
from homestretch.objective.progressive import Growing, Growth

AnyObjective = Objective | LeastSquares
"""What both phases can minimise: a loss over samples, or residuals that are one batch."""

__all__ = [
    "AnyObjective",
    "ClosureFunction",
    "Function",
    "Growing",
    "Growth",
    "LeastSquares",
    "MiniBatch",
    "Objective",
    "describe",
]
