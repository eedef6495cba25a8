from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, AtEpoch, ConjugateGradient, Growth, NoResort, Objective, TwoPhase, fit
from homestretch.history import EpochRecord, EventRecord
from homestretch.objective import Function, Growing
from homestretch.objective.base import GaussNewtonProducts, HessianProducts
from homestretch.promotion import promote


def data(count=200, noise=0.0):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    targets = torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)
    return inputs, targets + noise * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def growing(model=None, noise=0.0, **options):
    objective = Objective(model or network(), mse_loss, data(noise=noise), batch_size=32)
    return Growing(objective, Growth(**options))


def rows(objective):
    return set(objective.batches.tensors[0][:, 0].tolist())


def test_is_the_mean_over_its_part_at_the_price_of_its_share():
    function = growing(start=0.25)
    inputs, targets = function.part.batches.tensors
    assert len(inputs) == function.samples == 50
    expected = mse_loss(function.objective.model(inputs), targets)
    assert float(function()) == pytest.approx(float(expected.detach()), rel=1e-14)
    assert function.loss() == pytest.approx(float(expected.detach()), rel=1e-14)
    assert function.meter.gradient_equivalents == pytest.approx(0.25 * 4 / 3)
    assert isinstance(function, Function)
    assert isinstance(function, HessianProducts)
    assert isinstance(function, GaussNewtonProducts)


@pytest.mark.parametrize("product", ["hessian_product", "gauss_newton_product"])
def test_products_are_those_of_the_part(product):
    function = growing(start=0.25)
    vector = [torch.randn_like(p) for p in function.parameters]
    found = getattr(function, product)(vector)
    alone = Objective(function.objective.model, mse_loss, function.part.batches.tensors)
    for a, b in zip(found, getattr(alone, product)(vector), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("draw", ["nested", "redrawn"])
def test_parts_grow_to_all_the_data_and_the_version_says_so(draw):
    function = growing(draw=draw, longest=1)
    versions, parts = [function.version], [rows(function.part)]
    while not function.complete:
        assert "1 iterations were made" in function.observe()
        versions.append(function.version)
        parts.append(rows(function.part))
    assert [len(part) for part in parts] == function.memory.sizes == [25, 50, 100, 200]
    assert len(set(versions)) == 4
    assert function.objective.version not in versions
    assert function.part is function.objective
    assert all(a < b for a, b in pairwise(parts)) == (draw == "nested")
    assert function.observe() == ""


@pytest.mark.parametrize("draw", ["nested", "redrawn"])
def test_the_part_follows_a_promotion_and_its_end(draw):
    model = network().float()
    objective = Objective(model, mse_loss, tuple(t.float() for t in data()), batch_size=32)
    function = Growing(objective, Growth(start=0.25, draw=draw))
    before, part = float(function()), function.part
    assert function.part is part
    with promote(objective):
        assert float(function()) == pytest.approx(before, rel=1e-6)
        assert model[0].weight.grad.dtype == torch.float64
        assert function.samples == 50
    assert float(function()) == before
    assert rows(function.part) == rows(part)


def exact_moments(function):
    """Every sample's gradient by itself."""
    inputs, targets = function.part.batches.tensors
    gradients = []
    for x, t in zip(inputs, targets, strict=True):
        loss = mse_loss(function.objective.model(x[None]), t[None])
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, function.parameters)]))
    stacked = torch.stack(gradients)
    return float(stacked.mean(0).square().sum()), float(stacked.var(0).sum())


def test_the_gradient_moments_are_near_those_of_single_samples():
    function = growing(start=1.0, noise=1.0)
    square, variance = function.gradient_moments()
    exact_square, exact_variance = exact_moments(function)
    assert square == pytest.approx(exact_square, rel=1e-9)
    assert variance == pytest.approx(exact_variance, rel=0.5)
    assert function.meter.gradient_equivalents == pytest.approx(1.0)


def test_gradient_moments_leave_the_gradient_alone():
    function = growing()
    function()
    before = [p.grad for p in function.parameters]
    values = [g.clone() for g in before]
    function.gradient_moments()
    assert all(p.grad is g for p, g in zip(function.parameters, before, strict=True))
    assert all(torch.equal(g, v) for g, v in zip(before, values, strict=True))


@pytest.mark.parametrize(("theta", "grows"), [(100.0, False), (1e-3, True)])
def test_the_variance_test_grows_a_part_whose_gradient_is_noise(theta, grows):
    function = growing(noise=1.0, theta=theta, check_every=1)
    reason = function.observe()
    assert ("of its norm" in reason) == grows
    assert (function.samples > 25) == grows


def test_the_variance_test_grows_to_the_size_that_the_error_allows():
    function = growing(noise=1.0, theta=0.2, check_every=1, factor=1.01)
    square, variance = function.gradient_moments()
    allowed, total = 0.04 * square, 200
    reason = function.observe()
    assert reason
    size = function.samples
    error = [variance / n * (total - n) / (total - 1) for n in (size, size - 1)]
    assert error[0] <= allowed < error[1]


def test_the_hold_out_test_grows_when_what_is_learned_is_about_the_part_alone():
    """A few noisy samples and a network that can learn them by heart."""
    function = growing(noise=1.0, start=0.1, test="hold-out", check_every=3, longest=1000)
    method, reason = LBFGS(function.parameters), ""
    for _ in range(200):
        method.step(function)
        reason = function.observe()
        if reason:
            break
    assert "outside of 20" in reason
    assert function.samples == 40


def test_a_hold_out_loss_that_falls_lets_the_part_be():
    function = growing(nn.Linear(3, 2).double(), start=0.5, test="hold-out", check_every=1, longest=1000, least=0.0)
    method = LBFGS(function.parameters)
    for _ in range(2):
        method.step(function)
        assert function.observe() == ""


def train(model, epochs, second=LBFGS, **growth):
    objective = Objective(model, mse_loss, data(), batch_size=32, micro_batch=32, growth=Growth(**growth))
    options = {"rule": AtEpoch(3), "resort": NoResort(), "second": second, "evidence": None}
    optimizer = TwoPhase(model.parameters(), objective, first=torch.optim.Adam(model.parameters(), lr=1e-2), **options)
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    return objective, optimizer


@pytest.mark.parametrize("second", [LBFGS, ConjugateGradient])
@pytest.mark.parametrize("test", ["variance", "hold-out"])
@pytest.mark.parametrize("draw", ["nested", "redrawn"])
def test_the_convex_phase_ends_on_all_the_data(second, test, draw):
    objective, optimizer = train(network(), 60, second, test=test, draw=draw, longest=8)
    record = [r for r in optimizer.history.of(EpochRecord) if r.phase == "second"]
    sizes = [r.metrics["samples"] for r in record]
    assert sizes[0] == 25
    assert sizes == sorted(sizes)
    assert sizes[-1] == 200
    assert record[-1].loss == pytest.approx(objective.loss(), rel=1e-12)
    assert record[-1].loss < 0.8 * next(r.loss for r in record if r.metrics["samples"] == 200)
    costs = [r.gradient_equivalents for r in record]
    assert costs[1] - costs[0] < 0.5  # an iteration and its search on an eighth of the data
    assert {e.name for e in optimizer.history.of(EventRecord)} == {"swap", "growth"}


def test_a_method_that_stops_on_a_part_goes_on_with_more():
    torch.manual_seed(1)  # from elsewhere it may take more iterations to tell that nothing is gained
    model = nn.Linear(3, 2).double()
    _, optimizer = train(model, 200, longest=1000, theta=1e6)
    reasons = [e.message for e in optimizer.history.of(EventRecord) if e.name == "growth"]
    assert any("the method stopped on 25 samples" in reason for reason in reasons)
    assert optimizer.growing.complete


@pytest.mark.parametrize("draw", ["nested", "redrawn"])
@pytest.mark.parametrize("test", ["variance", "hold-out"])
def test_a_resumed_run_equals_the_run_left_alone(draw, test, tmp_path):
    def options():
        growth = Growth(draw=draw, test=test, longest=4, check_every=2)
        return {"batch_size": 32, "rule": AtEpoch(3), "resort": NoResort(), "second": LBFGS, "growth": growth}

    alone = network()
    reference = fit(alone, mse_loss, data(), epochs=20, out=tmp_path / "alone", **options())
    assert reference.optimizer.growing.complete
    grown = [e.epoch for e in reference.history.of(EventRecord) if e.name == "growth"]
    for stop in (2, 3, grown[0] - 1, grown[0], grown[-1] + 1):
        place = tmp_path / f"stopped-{stop}"
        fit(network(), mse_loss, data(), epochs=20, out=place, callbacks=[lambda p, stop=stop: p.epoch == stop], **options())
        model = network()
        result = fit(model, mse_loss, data(), epochs=20, out=place, resume=True, **options())
        assert [r.loss for r in result.history.of(EpochRecord)] == [r.loss for r in reference.history.of(EpochRecord)]
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters(), strict=True))
        assert result.gradient_equivalents == reference.gradient_equivalents


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "start"),
        ({"factor": 1.0}, "factor must be above 1"),
        ({"draw": "random"}, "draw must be one of"),
        ({"test": "guess"}, "test must be one of"),
        ({"theta": -1.0}, "theta"),
        ({"longest": 0}, "longest"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Growth(**options)


def test_growth_over_a_process_group_is_refused():
    with pytest.raises(ValueError, match="growth: data that are spread over a process group"):
        Objective(network(), mse_loss, data(), growth=Growth(), group=object())


def test_the_swap_onto_a_part_evaluates_all_the_data_by_a_forward_pass():
    _, optimizer = train(network(), 3)
    assert optimizer.phase == "second"
    # Three epochs, and the check of determinism on one micro-batch of 32 samples, twice.
    assert optimizer.meter.gradient_equivalents == pytest.approx(3.0 + 1 / 3 + 2 * 32 / 200 / 3)


def test_subsets_take_what_they_skip_to():
    objective = Objective(network(), mse_loss, data())
    first, rest = rows(objective.subset(60)), rows(objective.subset(140, skip=60))
    assert not first & rest
    assert len(first | rest) == 200
    assert first != rows(objective.subset(60, draw=1))
    with pytest.raises(ValueError, match="skip must leave"):
        objective.subset(150, skip=60)


def test_a_memory_of_nothing_held_out_survives():
    function = growing()
    state = function.state_dict()
    assert state["held_out"] == math.inf
    other = growing(start=0.5)
    other.load_state_dict(state)
    assert other.samples == 25
    assert rows(other.part) == rows(function.part)
