"""The page's code, run in order at reduced size."""

from __future__ import annotations

import pytest
import torch

from homestretch import LeastSquares, SelfScaledBroyden
from tests.docs.snippets import DOCS, reduced, snippets

BLOCKS = snippets(DOCS / "least-squares.md")


@pytest.fixture(scope="module")
def names():
    """The names that the whole page leaves behind."""
    found: dict[str, object] = {}
    for title, source in BLOCKS:
        exec(compile(reduced(source, 40), f"least-squares.md, {title}", "exec"), found)
    return found


def test_every_section_with_code_ran(names):
    assert [title for title, _ in BLOCKS] == [
        "A whole fit",
        "The record",
        "Points that are redrawn",
        "An equation that is too hard at once",
        "Guards",
        "Derivatives of the network",
        "tanh on a CPU",
    ]
    assert isinstance(names["objective"], LeastSquares)
    assert isinstance(names["optimizer"], SelfScaledBroyden)


def test_the_fit_learns_and_the_record_is_what_the_page_says(names):
    # At 40 Adam steps, 40 iterations and 36 points the fit is rough; it must be better than no fit.
    assert float(names["error"]) < 0.9
    assert names["record"].extra.keys() >= {"loss/equation", "loss/border"}
    assert names["derivatives"].mode in ("taylor", "forward")
    assert names["u_xx"].shape == names["u"].shape == (40, 1)


def test_the_wave_is_followed_to_its_last_speed(names):
    assert names["flow"][0, 0] == 3.0
    assert names["moving"].loss() < 0.1  # it was 0.5 at the start, and 1 to 9 more for each change of the speed by 1


def test_points_are_redrawn_at_full_size(names):
    """What the reduced run is too short for: a draw at the page's settings is recorded with the curvature kept."""
    objective = names["objective"]
    optimizer = SelfScaledBroyden(names["model"].parameters())
    optimizer.minimize(objective, 3)
    objective.redraw()
    optimizer.step(objective)
    assert "drawn by residual" in optimizer.history[-1].changed
    assert "kept" in optimizer.history[-1].changed
    assert torch.isfinite(torch.tensor(optimizer.scalars["loss"]))
