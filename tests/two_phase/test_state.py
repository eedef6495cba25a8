from __future__ import annotations

import copy

import pytest
from torch.optim import SGD, Adam

from homestretch import LBFGS, AtEpoch, ConjugateGradient, Growth, Never, Plateau
from homestretch.two_phase.inspection import Inspection


def saved(optimizer):
    return copy.deepcopy(optimizer.state_dict())


def test_a_state_of_another_first_optimizer_is_refused(setting, run):
    _, _, optimizer = setting(first=Adam)
    run(optimizer, 1)
    state = saved(optimizer)
    with pytest.raises(ValueError, match="saved with Adam as first, and first is SGD now"):
        setting(first=SGD)[2].load_state_dict(state)
    del state["param_groups"][0]["two_phase"]["first"]  # as older versions wrote it
    _, _, again = setting(first=Adam)
    again.load_state_dict(state)
    assert again.epochs == 1


def test_a_state_of_another_method_is_refused(setting, run):
    _, _, optimizer = setting(second=LBFGS)
    run(optimizer, 5)
    with pytest.raises(ValueError, match="saved by the method lbfgs, and this is conjugate-gradient"):
        setting(second=ConjugateGradient)[2].load_state_dict(saved(optimizer))


@pytest.mark.parametrize("growth", [None, Growth()])
def test_a_state_with_other_growth_is_refused(setting, run, growth):
    def make(grows):
        _, objective, optimizer = setting()
        if grows is not None:
            objective.growth = grows
            optimizer = type(optimizer)(objective.parameters, objective, first=Adam(objective.parameters), rule=AtEpoch(3))
        return optimizer

    optimizer, other = make(growth), make(None if growth else Growth())
    run(optimizer, 1)
    with pytest.raises(ValueError, match=r"saved with(out)? growth"):
        other.load_state_dict(saved(optimizer))


def test_a_run_that_was_to_swap_may_stay_in_its_first_phase(setting, run):
    _, _, optimizer = setting(rule=AtEpoch(3))
    run(optimizer, 2)
    _, _, again = setting(rule=Never())
    again.load_state_dict(saved(optimizer))
    run(again, 3)
    assert (again.epochs, again.phase) == (5, "first")
    run(optimizer, 3)
    assert optimizer.phase == "second"
    with pytest.raises(ValueError, match="belongs to the rule 'at-epoch', not to 'never'"):
        setting(rule=Never())[2].load_state_dict(saved(optimizer))
    with pytest.raises(ValueError, match="belongs to the rule"):
        setting(rule=Plateau())[2].load_state_dict(saved(again))


def test_no_proposal_waits_in_a_run_that_stays(setting, run):
    _, _, optimizer = setting(evidence=Inspection("wait"))
    run(optimizer, 3)
    assert optimizer.inspection.waiting
    _, _, again = setting(rule=Never(), evidence=Inspection("wait"))
    again.load_state_dict(saved(optimizer))
    assert not again.inspection.waiting
