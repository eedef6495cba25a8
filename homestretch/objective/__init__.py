"""What is minimised: a user's closure, the loss over a whole data set, or a sum of squared residuals."""

from homestretch.objective.base import Function, describe
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.dataset import Objective
from homestretch.objective.derivatives import Derivatives, fastest
from homestretch.objective.fast_tanh import Tanh
from homestretch.objective.held_out import HeldOut
from homestretch.objective.least_squares import LeastSquares
from homestretch.objective.minibatch import MiniBatch
from homestretch.objective.progressive import Growing, Growth
from homestretch.objective.redraw import Box, ResidualRedraw, ResidualRefinement, UniformRedraw

AnyObjective = Objective | LeastSquares
"""What both phases can minimise: a loss over samples, or residuals that are one batch."""

__all__ = [
    "AnyObjective",
    "Box",
    "ClosureFunction",
    "Derivatives",
    "Function",
    "Growing",
    "Growth",
    "HeldOut",
    "LeastSquares",
    "MiniBatch",
    "Objective",
    "ResidualRedraw",
    "ResidualRefinement",
    "Tanh",
    "UniformRedraw",
    "describe",
    "fastest",
]
