"""Is the loss convex here? Curvature along the path, extreme eigenvalues of the Hessian, its spectral density."""

from homestretch.convexity.density import NegativeFraction, SpectralDensity, spectral_density
from homestretch.convexity.evidence import Evidence, Verdict, gather
from homestretch.convexity.lanczos import Extremes, Tridiagonal, extremes, random_start, tridiagonalise
from homestretch.convexity.path import Curvature, along, secant

__all__ = [
    "Curvature",
    "Evidence",
    "Extremes",
    "NegativeFraction",
    "SpectralDensity",
    "Tridiagonal",
    "Verdict",
    "along",
    "extremes",
    "gather",
    "random_start",
    "secant",
    "spectral_density",
    "tridiagonalise",
]
