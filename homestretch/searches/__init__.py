"""How far to go along a direction."""

from homestretch.line import Search, SearchResult, SearchStatus
from homestretch.searches.armijo import Armijo
from homestretch.searches.golden_section import GoldenSection
from homestretch.searches.hager_zhang import HagerZhang
from homestretch.searches.strong_wolfe import StrongWolfe
from homestretch.searches.unit import Unit

__all__ = ["Armijo", "GoldenSection", "HagerZhang", "Search", "SearchResult", "SearchStatus", "StrongWolfe", "Unit"]
