from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, AtEpoch, Never, NoResort, Objective, TwoPhase, fit
from homestretch.history import EpochRecord, EventRecord
from homestretch.objective.modes import full_pass_mode
from homestretch.resort import Resort
from homestretch.swap import Decision
from homestretch.two_phase.probe import run_probe


class AtOnce(Resort):
    """Goes back after the first step."""

    name = "at-once"

    def judge(self, cost, loss, failure):
        return self.decide(True, "this is a test")


def samples(count=50):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)


def network(*, batch_norm=True, dropout=0.4):
    torch.manual_seed(1)
    layers = [
        nn.Linear(3, 8),
        nn.BatchNorm1d(8) if batch_norm else nn.Identity(),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Linear(8, 2),
    ]
    return nn.Sequential(*layers).double()


POLICIES = [(mode, dropout) for mode in ("eval", "train") for dropout in ("off", "fixed")]


@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_every_policy_is_a_fixed_function_that_changes_nothing_else(mode, dropout):
    model = network()
    objective = Objective(model, mse_loss, samples(), micro_batch=12, mode=mode, dropout=dropout)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    losses = {float(objective()), objective.loss(), float(objective())}
    objective.check_deterministic()
    assert len(losses) == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_the_gradient_is_that_of_the_fixed_function(mode, dropout):
    model = network()
    objective = Objective(model, mse_loss, samples(), micro_batch=12, mode=mode, dropout=dropout)
    objective()
    gradient = [p.grad.clone() for p in model.parameters()]
    direction = [torch.randn_like(p) for p in model.parameters()]
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    step, found = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(model.parameters(), direction, strict=True):
                p += sign * step * d
            found.append(objective.loss())
            for p, d in zip(model.parameters(), direction, strict=True):
                p -= sign * step * d
    assert slope == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("product", ["hessian_product", "gauss_newton_product"])
@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_products_belong_to_the_same_function(product, mode, dropout):
    model = network()
    objective = Objective(model, mse_loss, samples(), micro_batch=12, mode=mode, dropout=dropout)
    vector = [torch.randn_like(p) for p in model.parameters()]
    found = getattr(objective, product)(vector)
    again = getattr(objective, product)(vector)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    if product == "hessian_product":
        step, gradients = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                for p, v in zip(model.parameters(), vector, strict=True):
                    p += sign * step * v
            objective()
            gradients.append([p.grad.clone() for p in model.parameters()])
            with torch.no_grad():
                for p, v in zip(model.parameters(), vector, strict=True):
                    p -= sign * step * v
        for h, plus, minus in zip(found, *gradients, strict=True):
            torch.testing.assert_close(h, (plus - minus) / (2 * step), rtol=1e-4, atol=1e-7)


def test_fixed_masks_drop_units_and_depend_on_the_seed_and_the_micro_batch():
    def losses(seed, micro_batch):
        return Objective(network(), mse_loss, samples(), micro_batch=micro_batch, dropout="fixed", seed=seed).loss()

    off = Objective(network(), mse_loss, samples()).loss()
    assert losses(0, 12) == losses(0, 12)
    assert len({off, losses(0, 12), losses(1, 12), losses(0, 25)}) == 4


def test_train_mode_normalises_by_each_micro_batch():
    model, (inputs, targets) = network(dropout=0.0), samples(24)
    found = Objective(model, mse_loss, (inputs, targets), micro_batch=12, mode="train").loss()
    model.train()
    parts = [mse_loss(model(inputs[i : i + 12]), targets[i : i + 12]) for i in (0, 12)]
    assert found == pytest.approx(float(sum(parts).detach()) / 2, rel=1e-14)


def test_instance_norm_with_running_statistics_is_left_alone_too():
    model = nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True), nn.Flatten(), nn.Linear(12, 2)).double()
    inputs = torch.randn(10, 3, 4, dtype=torch.float64)
    for mode in ("eval", "train"):
        with full_pass_mode(model, mode, "fixed"):
            model(inputs)
    assert torch.equal(model[0].running_mean, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("use", ["__call__", "loss", "hessian_product", "gauss_newton_product"])
def test_a_micro_batch_of_one_sample_under_batch_norm_is_explained(use):
    model = network()
    objective = Objective(model, mse_loss, samples(25), micro_batch=12, mode="train")
    arguments = [[torch.ones_like(p) for p in model.parameters()]] if use.endswith("product") else []
    with pytest.raises(ValueError, match=r"micro_batch: .*these 25 samples has: give a micro_batch .*mode='eval'"):
        getattr(objective, use)(*arguments)
    assert model[1].running_mean is not None


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="dropout must be one of"):
        Objective(network(), mse_loss, samples(), dropout="on")


def train(model, epochs=8, **options):
    mode = {name: options.pop(name) for name in ("mode", "dropout", "micro_batch") if name in options}
    objective = Objective(model, mse_loss, samples(), batch_size=16, **mode)
    settings = {"rule": AtEpoch(3), "resort": NoResort(), "second": LBFGS, **options}
    optimizer = TwoPhase(model.parameters(), objective, first=torch.optim.Adam(model.parameters(), lr=1e-2), **settings)
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    return objective, optimizer


@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_the_convex_phase_descends_steadily_under_every_policy(mode, dropout):
    objective, optimizer = train(network(), mode=mode, dropout=dropout, micro_batch=25)
    second = [r.loss for r in optimizer.history.of(EpochRecord) if r.phase == "second"]
    assert second == sorted(second, reverse=True)
    assert second[-1] == pytest.approx(objective.loss(), rel=1e-14)
    message = next(e.message for e in optimizer.history.of(EventRecord) if e.name == "swap")
    assert ("statistics of 1 batch norms" in message) == (mode == "eval")


def test_statistics_are_estimated_at_the_swap_and_stay():
    model = network()
    train(model, epochs=3, dropout="off")
    inputs = samples()[0]
    at_swap = model[1].running_mean.clone()
    torch.testing.assert_close(at_swap, model[0](inputs).mean(0).detach())
    model = network()
    train(model, epochs=8)
    torch.testing.assert_close(model[1].running_mean, at_swap)


def test_a_probe_looks_at_the_function_that_a_swap_would_lead_to_and_leaves_no_trace():
    model = network()
    objective, optimizer = train(model, epochs=2, rule=Never())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = run_probe(optimizer, Decision(swap=False, reason="", rule="test", values={"probe_cost": 4.0}, probe=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert found.loss_before != objective.loss()
    objective.settle()
    assert found.loss_before == pytest.approx(objective.loss(), rel=1e-14)


def test_going_back_moves_them_again():
    model = network()
    resort = AtOnce()
    _, optimizer = train(model, epochs=5, resort=resort)
    for _ in range(10):
        if optimizer.phase == "first":
            break
        for closure in optimizer.epoch():
            optimizer.step(closure)
    before = model[1].running_mean.clone()
    for closure in optimizer.epoch():
        optimizer.step(closure)
    assert not torch.equal(before, model[1].running_mean)


def test_after_training_over_micro_batches_the_model_can_be_put_into_eval_mode():
    model = network(dropout=0.0)
    fit(
        model, mse_loss, samples(), epochs=8, batch_size=16, micro_batch=50, mode="train", rule=AtEpoch(3), resort=NoResort(),
        second=LBFGS,
    )  # fmt: skip
    torch.testing.assert_close(model[1].running_mean, model[0](samples()[0]).mean(0).detach())


@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_runs_resume_bit_for_bit_under_every_policy(mode, dropout, tmp_path):
    options = {"batch_size": 16, "rule": AtEpoch(3), "resort": NoResort(), "second": LBFGS, "mode": mode, "dropout": dropout}
    alone = network()
    reference = fit(alone, mse_loss, samples(), epochs=8, out=tmp_path / "alone", **options)
    for stop in (2, 3, 5):
        place = tmp_path / f"stopped-{stop}"
        torch.manual_seed(9)  # dropout of the first phase draws from torch's generator, which the checkpoint holds

        def stopped(progress, stop=stop):
            return progress.epoch == stop

        model = network()
        fit(model, mse_loss, samples(), epochs=8, out=place, callbacks=[stopped], **options)
        model = network()
        result = fit(model, mse_loss, samples(), epochs=8, out=place, resume=True, **options)
        assert [r.loss for r in result.history.of(EpochRecord)] == [r.loss for r in reference.history.of(EpochRecord)]
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), alone.state_dict().values(), strict=True))


class KeepsNormsFrozen(nn.Sequential):
    """Freezes its norms the usual way: by a ``train`` of its own."""

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.training = False
        return self


def by_flag(model):
    model[1].eval()
    return model


def by_class(model):
    return KeepsNormsFrozen(*model).train().eval()  # as after an evaluation


@pytest.mark.parametrize("freeze", [by_flag, by_class])
@pytest.mark.parametrize(("mode", "dropout"), POLICIES)
def test_a_frozen_norm_keeps_its_statistics_through_both_phases(mode, dropout, freeze):
    model = freeze(network())
    model[1].running_mean.fill_(0.3)
    before = [t.clone() for t in (model[1].running_mean, model[1].running_var)]
    fit(model, mse_loss, samples(), epochs=6, mode=mode, dropout=dropout, batch_size=16, rule=AtEpoch(2), second=LBFGS)
    assert all(torch.equal(a, b) for a, b in zip(before, (model[1].running_mean, model[1].running_var), strict=True))
    assert not model[1].training
    unfrozen = network()
    unfrozen[1].running_mean.fill_(0.3)
    fit(unfrozen, mse_loss, samples(), epochs=6, mode=mode, dropout=dropout, batch_size=16, rule=AtEpoch(2), second=LBFGS)
    assert not torch.equal(unfrozen[1].running_mean, before[0])


def test_full_passes_normalise_by_a_frozen_norms_statistics():
    model = by_flag(network(dropout=0.0))
    inputs, targets = samples()
    found = Objective(model, mse_loss, (inputs, targets), micro_batch=12, mode="train").loss()
    assert found == pytest.approx(float(mse_loss(model.eval()(inputs), targets).detach()), rel=1e-12)


def test_a_frozen_dropout_is_off_in_full_passes_with_fixed_masks():
    model = network(batch_norm=False)
    model[3].eval()
    frozen = Objective(model, mse_loss, samples(), dropout="fixed").loss()
    assert frozen == Objective(model, mse_loss, samples(), dropout="off").loss()
    model[3].train()
    assert frozen != Objective(model, mse_loss, samples(), dropout="fixed").loss()


def test_mini_batches_leave_frozen_layers_frozen_and_train_a_model_that_was_evaluated():
    model = by_flag(network())
    objective = Objective(model, mse_loss, samples(), batch_size=25)
    assert [model[1].training or not model[3].training for _ in objective.minibatches(1)] == [False, False]
    model.eval()
    assert [model[1].training and model[3].training for _ in objective.minibatches(1)] == [True, True]
    assert not any(module.training for module in model.modules())
