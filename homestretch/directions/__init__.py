"""Where to go from a point: each file is one method, driven by the loop in :mod:`homestretch.descent`."""

from homestretch.directions.base import Direction, Memory, Point, Proposal, Step
from homestretch.directions.conjugate_gradient import ConjugateGradientDirection
from homestretch.directions.lbfgs import LBFGSDirection

__all__ = ["ConjugateGradientDirection", "Direction", "LBFGSDirection", "Memory", "Point", "Proposal", "Step"]
