"""homestretch: the second half of training, after Adam: convex-phase methods and the swap that picks its own moment."""

from homestretch.descent import LBFGS, ConjugateGradient, Descent, StopReason
from homestretch.objective import Objective
from homestretch.preconditioners import Diagonal, Identity
from homestretch.searches import GoldenSection, HagerZhang

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "ConjugateGradient",
    "Descent",
    "Diagonal",
    "GoldenSection",
    "HagerZhang",
    "Identity",
    "Objective",
    "StopReason",
]
