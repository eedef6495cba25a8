"""Every first optimizer: it trains, swaps, says what it hands over, and goes on bit for bit after a reload."""

from __future__ import annotations

import copy
import io

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss
from torch.optim import lr_scheduler as schedules

from homestretch import LBFGS, AtEpoch, NoResort, Objective, TwoPhase, fit
from homestretch.history import EpochRecord, EventRecord
from homestretch.resort import Resort

WITH_MOMENTS = {
    "Adam": lambda p: optim.Adam(p, lr=1e-2),
    "AMSGrad": lambda p: optim.Adam(p, lr=1e-2, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-2),
    "NAdam": lambda p: optim.NAdam(p, lr=1e-2),
    "RAdam": lambda p: optim.RAdam(p, lr=1e-2),
    "Adamax": lambda p: optim.Adamax(p, lr=1e-2),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-3),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1e-2),
    "Adadelta": lambda p: optim.Adadelta(p, lr=1.0),
    "Adafactor": lambda p: optim.Adafactor(p, lr=1e-2),
    "schedule-free AdamW": lambda p: schedulefree.AdamWScheduleFree(p, lr=1e-2),
    "schedule-free RAdam": lambda p: schedulefree.RAdamScheduleFree(p, lr=1e-2),
    "SOAP": lambda p: pytorch_optimizer.SOAP(p, lr=1e-2, precondition_frequency=2),
}
WITHOUT = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "ASGD": lambda p: optim.ASGD(p, lr=0.1, t0=4.0),
    "Rprop": lambda p: optim.Rprop(p, lr=1e-3),
    "Muon": lambda p: optim.Muon(p, lr=2e-2),
    "LBFGS": lambda p: optim.LBFGS(p, max_iter=3),
    "schedule-free SGD": lambda p: schedulefree.SGDScheduleFree(p, lr=0.1),
}
FIRST = {**WITH_MOMENTS, **WITHOUT}
AVERAGED = {"ASGD", *(name for name in FIRST if name.startswith("schedule-free"))}


class AtOnce(Resort):
    """Goes back after the first step."""

    name = "at-once"

    def judge(self, cost, loss, failure):
        return self.decide(True, "this is a test")


def data(count=48):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)


def setting(make, **options):
    torch.manual_seed(1)
    # Without biases, as Muon takes matrices only.
    model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.Tanh(), nn.Linear(8, 2, bias=False)).double()
    objective = Objective(model, mse_loss, data(), batch_size=16)
    options = {"rule": AtEpoch(3), "resort": NoResort(), "second": LBFGS, **options}
    return model, TwoPhase(model.parameters(), objective, first=make(model.parameters()), **options)


def run(optimizer, epochs):
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)


def losses(optimizer):
    return [r.loss for r in optimizer.history.of(EpochRecord)]


@pytest.mark.parametrize("name", FIRST)
def test_trains_in_both_phases_and_says_what_is_handed_over(name):
    _, optimizer = setting(FIRST[name])
    run(optimizer, 9)
    record = losses(optimizer)
    assert record[-1] < record[3] <= record[2] * (1 + 1e-12) or record[-1] < 0.9 * record[2]
    message = next(e.message for e in optimizer.history.of(EventRecord) if e.name == "swap")
    assert ("second moments" in message and "keeps no second moments" not in message) == (name in WITH_MOMENTS)
    assert ("averaged weights" in message) == (name in AVERAGED)
    assert (optimizer.second.memory.get("inverse_diagonal") is not None) == (name in WITH_MOMENTS)


@pytest.mark.parametrize("name", sorted(AVERAGED))
def test_averaged_weights_are_where_the_convex_phase_starts(name):
    model, optimizer = setting(FIRST[name])
    run(optimizer, 3)
    start = [p.detach().clone() for p in model.parameters()]
    at_average = optimizer.objective.loss()
    other, alone = setting(FIRST[name], rule=AtEpoch(99))
    run(alone, 3)
    assert not all(torch.allclose(a, b) for a, b in zip(start, other.parameters(), strict=True))
    run(optimizer, 1)
    assert losses(optimizer)[-1] < at_average


@pytest.mark.parametrize("name", [name for name in FIRST if name.startswith("schedule-free")])
def test_a_loop_that_calls_train_and_eval_is_the_same_in_the_convex_phase(name, return_after):
    def course(calls):
        _, optimizer = setting(FIRST[name], resort=return_after(4))
        for _ in range(10):
            if calls:
                optimizer.first.train()
            run(optimizer, 1)
            if calls and optimizer.phase == "second":
                optimizer.first.eval()
        return losses(optimizer)

    assert course(calls=True) == course(calls=False)


@pytest.mark.parametrize("name", FIRST)
def test_goes_on_after_a_resort(name, return_after):
    resort = return_after(4)
    model, optimizer = setting(FIRST[name], rule=AtEpoch(5), resort=resort)
    run(optimizer, 5)
    for _ in range(12):
        run(optimizer, 1)
        if optimizer.phase == "first":
            break
    assert optimizer.phase == "first"
    best = optimizer.objective.loss()
    before = [p.detach().clone() for p in model.parameters()]
    run(optimizer, 1)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert optimizer.objective.loss() < best + 0.5


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("stop", [2, 5])
def test_goes_on_bit_for_bit_after_a_reload_on_either_side_of_the_swap(name, stop):
    model, optimizer = setting(FIRST[name])
    run(optimizer, stop)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    run(optimizer, 3)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again, reloaded = setting(FIRST[name])
    again.load_state_dict(saved["model"])
    reloaded.load_state_dict(copy.deepcopy(saved["optimizer"]))
    run(reloaded, 3)
    assert losses(reloaded) == losses(optimizer)[stop:]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 2, gamma=0.5),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 8),
    "warm restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
    "one cycle": lambda o: schedules.OneCycleLR(o, max_lr=2e-2, total_steps=12),
    "warm-up, then cosine": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=2), schedules.CosineAnnealingLR(o, 6)], milestones=[2]
    ),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=0, threshold=0.5),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")  # torch's SequentialLR warns of itself
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_steer_the_first_phase_as_they_would_alone(name):
    def model():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    def adam(parameters):
        return optim.Adam(parameters, lr=1e-2)

    result = fit(
        model(), mse_loss, data(), epochs=8, batch_size=16, first=adam, schedule=SCHEDULES[name], second=LBFGS,
        rule=AtEpoch(6), resort=NoResort(),
    )  # fmt: skip
    plain = model()
    objective, alone = Objective(plain, mse_loss, data(), batch_size=16), adam(plain.parameters())
    schedule, expected, rates = SCHEDULES[name](alone), [], []
    for epoch in range(1, 7):
        loss = sum(c.fraction * float(alone.step(c)) for c in objective.minibatches(epoch))
        rates.append(alone.param_groups[0]["lr"])
        schedule.step(*([loss] if name == "plateau" else []))
        expected.append(loss)
    epochs = result.history.of(EpochRecord)
    assert [r.loss for r in epochs[:6]] == pytest.approx(expected, rel=1e-13)
    assert [r.metrics["learning_rate"] for r in epochs if r.phase == "first"] == pytest.approx(rates)
    assert result.swap_epoch == 6
    assert result.loss < expected[-1]


def test_fit_leaves_averaged_weights_in_the_model_and_validates_them():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    result = fit(
        model, mse_loss, data(), epochs=5, batch_size=16, second=None, validation=data(),
        first=lambda p: schedulefree.AdamWScheduleFree(p, lr=1e-2),
    )  # fmt: skip
    objective = Objective(model, mse_loss, data())
    assert result.history.of(EpochRecord)[-1].metrics["validation_loss"] == pytest.approx(objective.loss(), rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [lambda p: optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.2), lambda p: optim.ASGD(p, lr=0.1, lambd=0.2, alpha=0.0)],
)
@pytest.mark.parametrize("kind", ["running-mean", "exact"])
def test_coupled_decay_is_in_the_loss_and_the_norm_of_both_phases(make, kind):
    """One mini-batch an epoch and a rate of almost zero: both phases then measure the same function at the same point."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    objective = Objective(model, mse_loss, data(), batch_size=48)
    first = make(model.parameters())
    first.param_groups[0]["lr"] = 1e-13
    optimizer = TwoPhase(model.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(99), gradient_norm=kind)
    run(optimizer, 1)
    found = optimizer.history.of(EpochRecord)[0]
    function = optimizer.second_function(objective)
    assert found.loss == pytest.approx(float(function()), rel=1e-9)
    assert found.loss > objective.loss() + 0.1
    norm = sum(float((p.grad**2).sum()) for p in model.parameters()) ** 0.5
    assert found.gradient_norm == pytest.approx(norm, rel=1e-9)
    objective()
    assert norm != pytest.approx(sum(float((p.grad**2).sum()) for p in model.parameters()) ** 0.5, rel=1e-2)


def test_sparse_adam_refuses_dense_gradients_itself():
    _, optimizer = setting(lambda p: optim.SparseAdam(list(p)))
    with pytest.raises(RuntimeError, match="dense gradients"):
        run(optimizer, 1)
