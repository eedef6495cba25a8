from __future__ import annotations

import pytest

from homestretch.paper.models import model_table
from homestretch.paper.table.printed import PRINTED


def test_q_is_that_of_our_models():
    computed = {(row.set, row.model): f"{row.Q:.1f}" for row in model_table()}
    assert computed == {key: printed.overdetermination for key, printed in PRINTED.items()}


@pytest.mark.parametrize(
    ("cell", "low", "high"),
    [
        (("mnist", "vit-mlp"), 5.0, 17.0),
        (("mnist", "vit-nomlp"), 1.0, 2.33),
        (("cifar-10", "vit-mlp"), 2.18, 2.26),
        (("cifar-100", "vgg5-max-relu"), 0.97, 1.03),
    ],
)
def test_what_rounded_digits_leave_open(cell, low, high):
    gain = PRINTED[cell].gain
    assert gain.low == pytest.approx(low, abs=0.01)
    assert gain.high == pytest.approx(high, abs=0.01)


def test_whose_figures_are_printed():
    row = PRINTED["mnist", "vgg5-max-relu"]
    assert row.of("adam") == (".0001", "1.000", ".0014", ".993")
    assert row.of("golden-30") == (".0001", "1.000", ".0011", ".994")
    assert row.of("auto") is None
