"""When to swap: rules over a stream of losses and gradient norms. Plain Python, no torch."""

from homestretch.decision import Decision
from homestretch.swap.base import Observation, ProbeResult, SwapRule
from homestretch.swap.budget import BudgetAware, Forecast
from homestretch.swap.combine import After, AllOf, AnyOf, Fallback
from homestretch.swap.curve_peak import CurvePeak
from homestretch.swap.custom import Custom
from homestretch.swap.fixed import AtEpoch, AtShare, AtStep, Never
from homestretch.swap.literal import LiteralPeak
from homestretch.swap.loss_rules import AtLoss, Plateau
from homestretch.swap.noise_scale import NoiseScale
from homestretch.swap.paced import FullBatches, Pace, PacedPeak, default_rule
from homestretch.swap.peak import GradientNormPeak
from homestretch.swap.settled import Settled

__all__ = [
    "After",
    "AllOf",
    "AnyOf",
    "AtEpoch",
    "AtLoss",
    "AtShare",
    "AtStep",
    "BudgetAware",
    "CurvePeak",
    "Custom",
    "Decision",
    "Fallback",
    "Forecast",
    "FullBatches",
    "GradientNormPeak",
    "LiteralPeak",
    "Never",
    "NoiseScale",
    "Observation",
    "Pace",
    "PacedPeak",
    "Plateau",
    "ProbeResult",
    "Settled",
    "SwapRule",
    "default_rule",
]
