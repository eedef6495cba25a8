"""What is minimised: a user's closure, the loss over a whole data set, or a sum of squared residuals."""

from homestretch.objective.base import Function, describe
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.dataset import MiniBatch, Objective
from homestretch.objective.least_squares import LeastSquares

__all__ = ["ClosureFunction", "Function", "LeastSquares", "MiniBatch", "Objective", "describe"]
