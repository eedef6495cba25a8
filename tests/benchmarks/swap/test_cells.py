from __future__ import annotations

import pytest
import torch

from benchmarks.sciml import make_problem
from benchmarks.swap.cells import RAMP, SCALES, cells_of, images, science


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_named_cells_with_whole_epochs(scale):
    cells = cells_of(scale)
    assert len({cell.name for cell in cells}) == len(cells)
    assert all(cell.epochs == cell.budget for cell in cells)
    assert all((cell.needs is None) == (not cell.name.startswith(("mnist", "cifar"))) for cell in cells)


def test_an_unknown_scale_is_named():
    with pytest.raises(ValueError, match="scale must be one of"):
        cells_of("huge")


def test_the_objective_of_a_science_problem_is_its_loss():
    setting, problem = science("poisson-2d", 100.0, 1).make(0), make_problem("poisson-2d", 0)
    assert float(setting.objective()) == pytest.approx(float(problem.loss().detach()), rel=1e-12)
    assert setting.error() == problem.error()
    assert len(list(setting.objective.minibatches(1))) == 1


def test_a_cell_starts_from_its_seed_alone():
    cell = images("digits", "vit-nomlp-wkewq-wvwo", 5, 1, None, rows=20)
    first, again, other = (cell.make(seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_rates_ramp_and_fall():
    cell = science("zoo-sin-64", 1000.0, 1)
    constant = [cell.factor(epoch, cosine=False) for epoch in range(cell.epochs)]
    cosine = [cell.factor(epoch, cosine=True) for epoch in range(cell.epochs + 1)]
    assert constant[:RAMP] == cosine[:RAMP] == pytest.approx([(i + 1) / RAMP for i in range(RAMP)])
    assert set(constant[RAMP:]) == {1.0}
    assert cosine[RAMP] == 1.0
    assert cosine[-1] == pytest.approx(0.0, abs=1e-12)
