"""What the results say: verdicts on each problem, and the page made of them."""

from homestretch.paper.findings.page import page
from homestretch.paper.findings.verdict import Verdict, verdict

__all__ = ["Verdict", "page", "verdict"]
