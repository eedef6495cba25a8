from __future__ import annotations

import pytest
import torch

from benchmarks.digits_stall import resting_losses, run, squared_error
from benchmarks.functions_report import outside
from benchmarks.results_io import write_table


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_sample_at_rest_gives_no_gradient_and_loses_what_is_said(k):
    scores = torch.full((1, 10), -200.0, dtype=torch.float64)
    scores[0, 1 : 1 + k] = 200.0
    scores.requires_grad_()
    loss = squared_error(scores, torch.tensor([0])).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(resting_losses()[k - 1]))
    assert float(scores.grad.abs().max()) < 1e-30


def test_a_row_of_the_table():
    row = run(0, torch.float32, budget=6.0)
    assert (row["seed"], row["dtype"], row["size"]) == (0, "float32", 64 * 32 + 32 + 32 * 10 + 10)
    assert 0.0 < row["loss"] < 0.1
    assert 0 <= row["at_rest"] <= row["heavy"] <= 1437
    assert row["gradient_equivalents"] >= 6.0


def test_the_page_shows_the_table(tmp_path):
    table = tmp_path / "digits-stall.tsv"
    assert outside(table) == ""
    write_table(
        table,
        [{"seed": 0, "dtype": "float32", "loss": 1e-3, "heavy": 7, "at_rest": 6}],
        ("seed", "dtype", "loss", "heavy", "at_rest"),
    )
    assert "| 0 | float32 | 1.0e-03 | 7 | 6 |" in outside(table)
