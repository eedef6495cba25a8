"""homestretch: the second half of training, after Adam: convex-phase methods and the swap that picks its own moment."""

from homestretch.descent import (
    LBFGS,
    ConjugateGradient,
    Descent,
    GaussNewtonCG,
    LevenbergMarquardt,
    NewtonCG,
    SelfScaledBroyden,
    StopReason,
)
from homestretch.directions.nystrom import NystromPreconditioner
from homestretch.objective import (
    Box,
    Growth,
    HeldOut,
    LeastSquares,
    Objective,
    ResidualRedraw,
    ResidualRefinement,
    UniformRedraw,
)
from homestretch.preconditioners import Diagonal, Identity
from homestretch.promotion import Promotion, promote
from homestretch.resort import MeasuredResort, NoResort, Race
from homestretch.searches import Armijo, GoldenSection, HagerZhang, StrongWolfe
from homestretch.swap import (
    AtEpoch,
    AtLoss,
    AtShare,
    BudgetAware,
    CurvePeak,
    GradientNormPeak,
    LiteralPeak,
    Never,
    NoiseScale,
    PacedPeak,
    Plateau,
)
from homestretch.training import FitResult, evaluate, fit
from homestretch.two_phase import Inspection, TwoPhase

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "Armijo",
    "AtEpoch",
    "AtLoss",
    "AtShare",
    "Box",
    "BudgetAware",
    "ConjugateGradient",
    "CurvePeak",
    "Descent",
    "Diagonal",
    "FitResult",
    "GaussNewtonCG",
    "GoldenSection",
    "GradientNormPeak",
    "Growth",
    "HagerZhang",
    "HeldOut",
    "Identity",
    "Inspection",
    "LeastSquares",
    "LevenbergMarquardt",
    "LiteralPeak",
    "MeasuredResort",
    "Never",
    "NewtonCG",
    "NoResort",
    "NoiseScale",
    "NystromPreconditioner",
    "Objective",
    "PacedPeak",
    "Plateau",
    "Promotion",
    "Race",
    "ResidualRedraw",
    "ResidualRefinement",
    "SelfScaledBroyden",
    "StopReason",
    "StrongWolfe",
    "TwoPhase",
    "UniformRedraw",
    "evaluate",
    "fit",
    "promote",
]
