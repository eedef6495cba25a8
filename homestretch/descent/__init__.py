"""The one loop of the convex phase."""

from homestretch.descent.loop import Descent
from homestretch.descent.methods import LBFGS, ConjugateGradient, GaussNewtonCG, LevenbergMarquardt, NewtonCG, SelfScaledBroyden
from homestretch.descent.stop import StopReason

__all__ = [
    "LBFGS",
    "ConjugateGradient",
    "Descent",
    "GaussNewtonCG",
    "LevenbergMarquardt",
    "NewtonCG",
    "SelfScaledBroyden",
    "StopReason",
]
