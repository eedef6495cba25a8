from __future__ import annotations

import pytest
import torch

from homestretch.errors import UnsupportedError


@pytest.mark.parametrize("epochs", [1, 5])
def test_what_is_unfrozen_later_is_refused_in_either_phase(epochs, setting, run):
    """The convex phase would leave it where it is, without a word."""
    model, objective, optimizer = setting()
    objective.parameters[0].requires_grad_(False)
    first = torch.optim.Adam(model.parameters())
    frozen = type(optimizer)(model.parameters(), objective, first=first, rule=optimizer.rule, resort=optimizer.resort)
    run(frozen, epochs)
    assert (frozen.phase == "second") == (epochs > 3)
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
