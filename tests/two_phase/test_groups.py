from __future__ import annotations

import pytest
import torch

from homestretch.errors import UnsupportedError


def test_what_is_unfrozen_later_is_refused(setting, run, network):
    """The convex phase would leave it where it is, without a word."""
    model, objective, optimizer = setting()
    objective.parameters[0].requires_grad_(False)
    frozen = type(optimizer)(model.parameters(), objective, first=torch.optim.Adam(model.parameters()), rule=optimizer.rule)
    run(frozen, 1)
    objective.parameters[0].requires_grad_(True)
    with pytest.raises(
        UnsupportedError, match=r"1 parameters \(the first of shape \(8, 3\)\) were frozen when TwoPhase was made"
    ):
        run(frozen, 1)


def test_what_is_frozen_later_stays_where_it_is(setting, run):
    model, _, optimizer = setting()
    run(optimizer, 1)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    run(optimizer, 6)
    assert optimizer.phase == "second"
    assert torch.equal(model[0].weight, before)
