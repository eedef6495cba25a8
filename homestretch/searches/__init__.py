"""How far to go along a direction."""

from homestretch.line import Search, SearchResult, SearchStatus
from homestretch.searches.golden_section import GoldenSection
from homestretch.searches.hager_zhang import HagerZhang
from homestretch.searches.unit import Unit

__all__ = ["GoldenSection", "HagerZhang", "Search", "SearchResult", "SearchStatus", "Unit"]
