"""The example that README and home page begin with, as it stands: nothing is handed to it."""

from __future__ import annotations

import re

import torch

from tests.docs.snippets import DOCS, snippets


def first(page):
    return snippets(page)[0][1]


def test_it_runs_from_an_empty_namespace_and_swaps(capsys):
    names: dict = {}
    torch.manual_seed(0)
    exec(compile(first(DOCS.parent / "README.md"), "README.md", "exec"), names)
    assert names["optimizer"].phase == "second"
    assert names["objective"].loss() < 1e-3
    assert str(names["optimizer"].swap_epoch) in capsys.readouterr().out


def test_the_home_page_has_the_same_without_the_old_lines():
    without = re.sub(r"^ *# .*\n", "", first(DOCS.parent / "README.md"), flags=re.MULTILINE)
    assert first(DOCS / "index.md") == without
