from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import homestretch
from tests.docs.snippets import DOCS, reduced, snippets
from tests.two_phase.test_first_optimizers import AVERAGED, FIRST, WITH_MOMENTS

SAID = {
    "AMSGrad": "Adam",
    "momentum": "SGD",
    "schedule-free AdamW": "schedulefree.AdamWScheduleFree",
    "schedule-free RAdam": "RAdamScheduleFree",
    "schedule-free SGD": "schedulefree.SGDScheduleFree",
    "SOAP": "pytorch_optimizer.SOAP",
}


def table():
    """What the page says of each optimizer: second moments, averages."""
    page = (DOCS / "first-phase.md").read_text(encoding="utf-8")
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {name: cells[1:] for cells in lines for name in re.findall(r"`([\w.]+)`", cells[0])}


@pytest.mark.parametrize("name", FIRST)
def test_the_page_says_what_every_tested_optimizer_hands_over(name):
    moments, averages = table()[SAID.get(name, name)]
    assert ("none" in moments) == (name not in WITH_MOMENTS)
    assert ("yes" in averages) == (name in AVERAGED)


def test_the_page_names_no_optimizer_that_is_not_tested():
    assert set(table()) == {SAID.get(name, name) for name in FIRST}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler:UserWarning")
@pytest.mark.parametrize("page", ["first-phase.md", "fixed-function.md"])
def test_the_snippets_run(page):
    inputs = torch.linspace(-1, 1, 130).unsqueeze(1)
    for title, source in snippets(DOCS / page):
        model = nn.Sequential(nn.Linear(1, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 1))
        names = {"torch": torch, "model": model, "inputs": inputs, "targets": inputs.sin(), "Objective": homestretch.Objective}
        exec(compile(reduced(source, 12), f"{page}, {title}", "exec"), names)
        if "objective" in names:
            assert isinstance(names["objective"], homestretch.Objective)
            names["objective"].check_deterministic()
        else:
            assert names["result"].epochs == 12
