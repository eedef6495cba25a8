"""One torch optimizer over two phases."""

from homestretch.two_phase.gradient_norm import RunningMean
from homestretch.two_phase.inspection import Inspection
from homestretch.two_phase.optimizer import TwoPhase

__all__ = ["Inspection", "RunningMean", "TwoPhase"]
