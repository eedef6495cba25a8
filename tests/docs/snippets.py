"""Code blocks of a page of the documentation, by section, to be run at reduced size."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LARGE = re.compile(r"(?<![\w.])\d{3,}(?![\w.])")


def snippets(page: Path) -> list[tuple[str, str]]:
    """Title of the section and source of each Python block of a page, in order."""
    found = []
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        title = section.split("\n", 1)[0]
        found += [(title, block) for block in _BLOCK.findall(section)]
    return found


def reduced(source: str, size: int = 3) -> str:
    """The same code with every whole number of three or more digits replaced, which counts of iterations and epochs are."""
    return _LARGE.sub(str(size), source)
