from __future__ import annotations

import importlib
import importlib.util
import re
from functools import reduce

import pytest
import yaml

import homestretch
from tests.docs.snippets import DOCS

ROOT = DOCS.parent
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_IDENTIFIER = re.compile(r"^::: (\S+)$", re.MULTILINE)


def entries(nav):
    """All files of the navigation."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from entries(value) if isinstance(value, list) else [value]


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as Python-Markdown makes them."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_every_entry_of_the_navigation_is_a_page():
    missing = [entry for entry in entries(SITE["nav"]) if not (DOCS / entry).is_file()]
    assert not missing


def test_what_is_said_by_hand_of_the_papers_table_is_on_its_page():
    note = (ROOT / "benchmarks" / "results" / "paper.note.md").read_text(encoding="utf-8").strip()
    assert note in (DOCS / "paper" / "what-we-found.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation():
    known = set(entries(SITE["nav"]))
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda page: page.stem)
def test_what_the_reference_shows_exists(page):
    for identifier in _IDENTIFIER.findall(page.read_text(encoding="utf-8")):
        if identifier.startswith("homestretch.integrations."):
            assert importlib.util.find_spec(identifier) is not None  # their libraries may be missing
            continue
        assert found(identifier) is not None, identifier


def test_all_public_names_are_in_the_reference():
    shown = set()
    for page in (DOCS / "reference").glob("*.md"):
        for identifier in _IDENTIFIER.findall(page.read_text(encoding="utf-8")):
            if not identifier.startswith("homestretch.integrations."):
                module = importlib.import_module(identifier)
                shown |= set(getattr(module, "__all__", vars(module)))
    assert set(homestretch.__all__) <= shown


def found(identifier: str):
    """The module or object of a dotted name."""
    parts = identifier.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[cut:], module)
    return None


def test_the_command_of_the_site_is_in_the_makefile():
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()
