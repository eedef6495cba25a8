from __future__ import annotations

import math

import pytest
import torch

from homestretch.paper.figures import formulas


def test_the_gradient_norm_is_the_slope_of_the_loss():
    rows = [row for row in formulas.one_parameter_losses(models=2, points=4001) if row["model"] == 2]
    step = rows[1]["p"] - rows[0]["p"]
    for before, here, after in list(zip(rows, rows[1:], rows[2:], strict=False))[::97]:
        slope = (after["loss"] - before["loss"]) / (2 * step)
        assert here["gradient_norm"] == pytest.approx(abs(slope), rel=1e-3, abs=1e-3)


def test_a_parameter_of_zero_leaves_the_target():
    rows = [row for row in formulas.one_parameter_losses() if abs(row["p"]) < 1e-9]
    assert len(rows) == 5
    assert all(0.0 <= row["loss"] <= 1.0 for row in rows)
    assert formulas.one_parameter_losses(seed=1) != formulas.one_parameter_losses(seed=0)


def test_the_well_has_the_gradient_and_the_border_that_are_stated():
    for radius, convex in ((0.98, True), (1.02, False)):
        for angle in (0.0, 0.7, math.pi / 2):
            point = torch.tensor([radius * math.cos(angle), radius * math.sin(angle) / 2], dtype=torch.float64)
            value = lambda v: formulas.well(v)[0]  # noqa: E731
            hessian = torch.autograd.functional.hessian(value, point)
            assert bool((torch.linalg.eigvalsh(hessian) > 0).all()) is convex
            torch.testing.assert_close(torch.autograd.functional.jacobian(value, point), formulas.well(point)[1])


def test_the_descent_crosses_the_border_near_its_largest_gradient_norm():
    descent = formulas.descent_2d()
    assert descent.values.shape == (len(descent.y), len(descent.x))
    losses = [row["loss"] for row in descent.path]
    assert losses == sorted(losses, reverse=True)
    entry = next(i for i, row in enumerate(descent.path) if row["convex"])
    peak = max(range(len(descent.path)), key=lambda i: descent.path[i]["gradient_norm"])
    assert entry > 0
    assert abs(entry - peak) <= 2


@pytest.mark.parametrize(("constant", "minima"), [(0.40, 1), (0.45, 1), (0.55, 3), (0.60, 3)])
def test_a_basin_splits_at_one_half(constant, minima):
    loss = [row["loss"] for row in formulas.basins(points=2001) if row["C"] == constant]
    found = sum(before > here < after for before, here, after in zip(loss, loss[1:], loss[2:], strict=False))
    assert found == minima
