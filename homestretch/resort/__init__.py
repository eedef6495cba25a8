"""When to go back to the first phase: the safe resort, measured instead of hoped. Plain Python, no torch."""

from homestretch.resort.base import NoResort, Resort, Trace
from homestretch.resort.measured import MeasuredResort
from homestretch.resort.race import Race

__all__ = ["MeasuredResort", "NoResort", "Race", "Resort", "Trace"]
