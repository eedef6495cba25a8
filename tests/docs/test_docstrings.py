from __future__ import annotations

import importlib.util

import pytest

from tests.docs.snippets import DOCS


@pytest.fixture(scope="module")
def markdown():
    spec = importlib.util.spec_from_file_location("docs_docstrings", DOCS / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.markdown


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("a ``name``", "a `name`"),
        (r"the step :math:`\alpha_k` of it", r"the step \(\alpha_k\) of it"),
        (":meth:`Direction.reject`", "`Direction.reject`"),
        (
            ":class:`~homestretch.line.Line`",
            '<autoref identifier="homestretch.line.Line" optional><code>Line</code></autoref>',
        ),
        (
            ":mod:`homestretch.cost`",
            '<autoref identifier="homestretch.cost" optional><code>homestretch.cost</code></autoref>',
        ),
        ("before\n\n.. math:: a = b\n\nafter", "before\n\n\\[\na = b\n\\]\n\nafter"),
        ("before\n\n.. math:: a = b, \\\\\n          c = d\n\nafter", "before\n\n\\[\na = b, \\\\\nc = d\n\\]\n\nafter"),
        ("nothing to do", "nothing to do"),
    ],
)
def test_roles_become_markdown(markdown, docstring, expected):
    assert markdown(docstring) == expected


def test_every_docstring_of_the_package_is_translated(markdown):
    for path in (DOCS.parent / "homestretch").rglob("*.py"):
        translated = markdown(path.read_text(encoding="utf-8"))
        assert ":math:`" not in translated
        assert ".. math::" not in translated
        assert ":class:`" not in translated
