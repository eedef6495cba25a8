"""The example that README and home page begin with, as it stands: nothing is handed to it."""

from __future__ import annotations

import re

import pytest
import torch

from homestretch import fit
from tests.docs.snippets import DOCS, snippets

PAGES = {"README": DOCS.parent / "README.md", "home page": DOCS / "index.md"}
ONE_LINE = re.compile(r"`(fit\(model, loss, [^`]*)`")


def first(page):
    return snippets(page)[0][1]


def executed(source, name="example"):
    """The names that a source makes, from the seed that all tests begin with."""
    names: dict = {}
    torch.manual_seed(0)
    exec(compile(source, name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def loop():
    return executed(first(PAGES["README"]), "README.md")


def test_it_runs_from_an_empty_namespace_and_swaps(loop, capsys):
    assert loop["optimizer"].phase == "second"
    assert loop["objective"].loss() < 1e-3
    exec(first(PAGES["README"]).splitlines()[-1], loop)
    assert str(loop["optimizer"].swap_epoch) in capsys.readouterr().out


def test_the_home_page_has_the_same_without_the_old_lines():
    without = re.sub(r"^ *# .*\n", "", first(PAGES["README"]), flags=re.MULTILINE)
    assert first(PAGES["home page"]) == without


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_same_in_one_line_is_the_same(page, loop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it writes its records, if it does
    names = executed(first(page).split("objective = ")[0], page.name)
    (line,) = ONE_LINE.findall(page.read_text(encoding="utf-8"))
    result = eval(" ".join(line.split()), {**names, "fit": fit})
    assert result.loss == pytest.approx(loop["objective"].loss(), rel=1e-6)
    assert result.swap_epoch == loop["optimizer"].swap_epoch
