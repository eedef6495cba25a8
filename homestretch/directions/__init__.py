"""Where to go from a point: each file is one method, driven by the loop in :mod:`homestretch.descent`."""

from homestretch.directions.base import Direction, Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import ConjugateGradientDirection
from homestretch.directions.gauss_newton_cg import GaussNewtonCGDirection
from homestretch.directions.lbfgs import LBFGSDirection
from homestretch.directions.levenberg_marquardt import LevenbergMarquardtDirection

__all__ = [
    "ConjugateGradientDirection",
    "Direction",
    "GaussNewtonCGDirection",
    "LBFGSDirection",
    "LevenbergMarquardtDirection",
    "Memory",
    "Point",
    "Proposal",
    "Step",
]
