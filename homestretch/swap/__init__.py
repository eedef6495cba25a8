"""When to swap: rules over a stream of losses and gradient norms. Plain Python, no torch."""

from homestretch.swap.base import Decision, Observation, ProbeResult, SwapRule
from homestretch.swap.fixed import AtEpoch, AtShare, AtStep, Never
from homestretch.swap.literal import LiteralPeak
from homestretch.swap.peak import GradientNormPeak

__all__ = [
    "AtEpoch",
    "AtShare",
    "AtStep",
    "Decision",
    "GradientNormPeak",
    "LiteralPeak",
    "Never",
    "Observation",
    "ProbeResult",
    "SwapRule",
]
