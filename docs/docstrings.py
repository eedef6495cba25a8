r"""Docstrings for the site: the roles of reStructuredText that they use, in Markdown. Loaded by `mkdocs.yml`.

The docstrings read well in an editor and in `help()`; the site's generator wants Markdown, with formulas between `\(` and
`\)`.
"""

from __future__ import annotations

import re
from typing import Any

try:
    from griffe import Extension
except ImportError:  # the tests look at `markdown` without the site's tools
    Extension = object

_REFERENCE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)\.?([\w.]+)`")
_FORMULA = re.compile(r":math:`([^`]*)`")
_BLOCK = re.compile(r"^( *)\.\. math::(.*(?:\n(?:\1[ ]+\S.*|[ ]*(?=\n\1[ ]+\S)))*)", re.MULTILINE)


def markdown(docstring: str) -> str:
    """The docstring with references, formulas and displayed formulas as Markdown has them."""
    displayed = _BLOCK.sub(_display, docstring)
    inline = _FORMULA.sub(lambda found: rf"\({' '.join(found[1].split())}\)", displayed)
    return _REFERENCE.sub(_refer, inline).replace("``", "`")


def _display(found: re.Match[str]) -> str:
    lines = [line.strip() for line in found[2].splitlines() if line.strip()]
    return f"{found[1]}\\[\n" + "".join(f"{found[1]}{line}\n" for line in lines) + f"{found[1]}\\]"


def _refer(found: re.Match[str]) -> str:
    short, path = found[1], found[2]
    name = path.rsplit(".", 1)[-1] if short else path
    if not path.startswith("homestretch."):
        return f"`{name}`"
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'  # a link if the site shows it, else its name


class Markdown(Extension):
    """Translates every docstring as it is read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
