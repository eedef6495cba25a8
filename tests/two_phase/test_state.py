from __future__ import annotations

import copy

import pytest
import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import SGD, Adam

from homestretch import LBFGS, AtEpoch, ConjugateGradient, Growth, Never, Plateau
from homestretch.packing import unpack
from homestretch.two_phase.inspection import Inspection


def saved(optimizer):
    return copy.deepcopy(optimizer.state_dict())


def test_a_state_of_another_first_optimizer_is_refused(setting, run):
    _, _, optimizer = setting(first=Adam)
    run(optimizer, 1)
    state = saved(optimizer)
    with pytest.raises(ValueError, match="saved with Adam as first, and first is SGD now"):
        setting(first=SGD)[2].load_state_dict(state)
    about = unpack(state["param_groups"][0]["two_phase"])
    state["param_groups"][0]["two_phase"] = {n: v for n, v in about.items() if n != "first"}  # as older versions wrote it
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


def template(model, optimizer):
    """What torch's distributed checkpoints fill: the state of a model and an optimizer that may be new."""
    parts = get_state_dict(model, optimizer)
    return {"model": parts[0], "optimizer": parts[1]}


def loaded(model, optimizer, place):
    state = template(model, optimizer)
    checkpoint.load(state, checkpoint_id=place, no_dist=True)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("first", [Adam, SGD])
@pytest.mark.parametrize("epochs", [2, 3, 6])
def test_a_distributed_checkpoint_on_disk_goes_on_bit_for_bit(setting, run, tmp_path, first, epochs):
    """It loads only what the receiver holds already: of a new optimizer that is nothing of the convex phase."""
    model, _, optimizer = setting(first=first)
    run(optimizer, epochs)
    checkpoint.save(template(model, optimizer), checkpoint_id=tmp_path, no_dist=True)
    if epochs >= 3:
        other, _, again = setting(first=first)
        with pytest.raises(ValueError, match=r"the state lacks gradient, .*call its allocate"):
            loaded(other, again, tmp_path)
    other, _, again = setting(first=first)
    if epochs >= 3:
        again.allocate()
    loaded(other, again, tmp_path)
    assert (again.phase, again.epochs) == (optimizer.phase, optimizer.epochs)
    run(optimizer, 4)
    run(again, 4)
    assert again.second.scalars["iteration"] == optimizer.second.scalars["iteration"]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
