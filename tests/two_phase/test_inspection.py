from __future__ import annotations

import io

import pytest
import torch
from torch import nn
from torch.optim import Adam

from homestretch import LBFGS, AtEpoch, LeastSquares, Objective, TwoPhase, vectors
from homestretch.convexity import Verdict
from homestretch.errors import UnsupportedError
from homestretch.history import DecisionRecord, EpochRecord, EventRecord
from homestretch.two_phase.inspection import Inspection


def evidence_of(optimizer):
    return [e for e in optimizer.history.of(EventRecord) if e.name == "evidence"]


def exact_hessian(objective):
    size = sum(p.numel() for p in objective.parameters)
    columns = []
    for i in range(size):
        unit = torch.zeros(size, dtype=torch.float64)
        unit[i] = 1.0
        columns.append(vectors.pack(objective.hessian_product(vectors.unpack(unit, objective.parameters))))
    return torch.stack(columns)


def test_records_what_the_exact_hessian_says(setting, run):
    model, objective, optimizer = setting(evidence=Inspection(share=1.0, total_share=1.0, products=60), budget=1000.0)
    run(optimizer, 2)
    before = vectors.pack([p.detach().clone() for p in model.parameters()])
    run(optimizer, 1)
    assert optimizer.phase == "second"
    (event,) = evidence_of(optimizer)
    objective()
    gradient = vectors.pack([p.grad for p in model.parameters()])
    hessian = exact_hessian(objective)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert event.values["samples"] == 60
    assert event.values["lambda_min"] == pytest.approx(float(eigenvalues[0]), abs=1e-2 * float(eigenvalues[-1]))
    assert event.values["lambda_max"] == pytest.approx(float(eigenvalues[-1]), rel=1e-3)
    along = float(gradient @ hessian @ gradient / (gradient @ gradient))
    assert event.values["gradient_curvature"] == pytest.approx(along, rel=1e-9)
    step = vectors.pack([p.detach() for p in model.parameters()]) - before
    assert event.values["step_curvature"] == pytest.approx(float(step @ hessian @ step / (step @ step)), rel=0.2)
    assert "on 60 of 60 samples the curvature along the gradient is" in event.message
    assert "estimate from one random vector" in event.message


@pytest.mark.parametrize("first", [Adam, lambda p, lr: Adam(p, lr=lr, weight_decay=0.3)])
def test_the_run_is_the_same_with_and_without(setting, run, first):
    looked, blind = (setting(first=first, evidence=e, budget=4000.0) for e in ("record", None))
    for _, _, optimizer in (looked, blind):
        run(optimizer, 6)
    losses = [[r.loss for r in o.history.of(EpochRecord)] for _, _, o in (looked, blind)]
    assert losses[0] == losses[1]
    (event,) = evidence_of(looked[2])
    more = looked[1].meter.gradient_equivalents - blind[1].meter.gradient_equivalents
    assert more == pytest.approx(event.values["cost"])
    assert event.values["cost"] <= 0.01 * 4000.0


def test_weight_decay_belongs_to_the_function(setting, run):
    values = []
    for decay in (0.0, 5.0):
        _, _, optimizer = setting(
            first=lambda p, lr, decay=decay: Adam(p, lr=0.0, weight_decay=decay), evidence="record", budget=4000.0
        )
        run(optimizer, 3)
        values.append(evidence_of(optimizer)[0].values)
    assert values[1]["lambda_max"] == pytest.approx(values[0]["lambda_max"] + 5.0)


@pytest.mark.parametrize(("budget", "allowed"), [(300.0, 3.0), (None, 0.4)])
def test_the_price_bounds_the_sample(setting, run, budget, allowed):
    _, objective, optimizer = setting(
        rule=AtEpoch(40), evidence=Inspection(least_samples=1, products=5), budget=budget, rate=1e-3
    )
    run(optimizer, 40)
    values = evidence_of(optimizer)[0].values
    assert 0.4 * allowed < values["cost"] <= allowed
    assert values["samples"] < 60
    assert objective.meter.gradient_equivalents == pytest.approx(40.0 + values["cost"], abs=2.0)


def test_too_dear_is_left_out_with_a_note(setting, run):
    _, objective, optimizer = setting(evidence="record", budget=100.0)
    run(optimizer, 3)
    assert optimizer.phase == "second"
    (event,) = evidence_of(optimizer)
    assert event.message.startswith("the curvature was not looked at: 1 gradient-equivalents are allowed for it, ")
    assert event.message.endswith("would be needed for 60 samples")
    assert objective.meter.hessian_products == 0.0


def plane(evidence, curvature):
    """One step down a parabola along w, with a given second derivative along v."""
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.1]]))

    def loss(outputs, targets):
        w, v = model.weight[0]
        return w**2 / 2 + curvature * v**2 / 2 + 0.0 * outputs.sum()

    data = torch.ones(100, 2, dtype=torch.float64), torch.ones(100, 1, dtype=torch.float64)
    objective = Objective(model, loss, data, batch_size=100)
    first = Adam(model.parameters(), lr=1e-4)
    return TwoPhase(model.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(2), evidence=evidence, budget=4000.0)


def test_waits_for_two_good_looks_and_says_so(run):
    optimizer = plane(Inspection("wait", share=0.01, total_share=0.1), 1.0)
    run(optimizer, 2)
    assert optimizer.phase == "first"
    assert optimizer.inspection.waiting
    run(optimizer, 60)
    assert optimizer.phase == "second"
    first, second = (e.epoch for e in evidence_of(optimizer))
    assert first == 2
    assert optimizer.swap_epoch == second
    cost = {r.epoch: r.gradient_equivalents for r in optimizer.history.of(EpochRecord)}
    assert cost[second] - cost[first] >= 0.01 * 4000.0
    assert "convex 2 of 2 times in a row" in optimizer.swap_reason
    waits = [d for d in optimizer.history.of(DecisionRecord) if d.rule == "inspection"]
    assert "convex 1 of 2 times in a row; the swap waits (epoch 2, the swap is set after epoch 2)" in waits[0].reason
    assert "the next look is due at" in waits[1].reason


def test_waits_for_ever_where_the_loss_is_not_convex_within_its_price(run):
    optimizer = plane(Inspection("wait", share=0.01, total_share=0.015), -0.5)
    run(optimizer, 320)
    assert optimizer.phase == "first"
    assert len(evidence_of(optimizer)) >= 2
    assert sum(e.values["cost"] for e in evidence_of(optimizer)) <= 0.015 * 4000.0
    assert all(e.values["lambda_min"] == pytest.approx(-0.5) for e in evidence_of(optimizer))
    assert "gradient-equivalents are allowed for it" in optimizer.history.of(DecisionRecord)[-1].reason


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_reload_goes_on_waiting_bit_for_bit(run, cut):
    def make():
        return plane(Inspection("wait", share=0.01, total_share=0.1), 1.0)

    alone, stopped, fresh = make(), make(), make()
    run(alone, 60)
    run(stopped, cut)
    buffer = io.BytesIO()
    torch.save((stopped.objective.model.state_dict(), stopped.state_dict()), buffer)
    buffer.seek(0)
    model, state = torch.load(buffer, weights_only=True)
    fresh.objective.model.load_state_dict(model)
    fresh.load_state_dict(state)
    run(fresh, 60 - cut)
    assert fresh.swap_epoch == alone.swap_epoch
    assert fresh.swap_reason == alone.swap_reason
    assert torch.equal(fresh.objective.model.weight, alone.objective.model.weight)


def test_plain_closures_are_noted_or_refused(network):
    model = network()
    optimizer = TwoPhase(model.parameters(), first=Adam(model.parameters()), rule=AtEpoch(1))
    optimizer.zero_grad()
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    optimizer.step()
    optimizer.end_epoch(loss=1.0)
    assert (
        evidence_of(optimizer)[0].message
        == "the curvature was not looked at: there is no objective to take Hessian products of"
    )
    with pytest.raises(ValueError, match="evidence='wait' needs an objective"):
        TwoPhase(model.parameters(), first=Adam(model.parameters()), evidence="wait")


@pytest.mark.parametrize("mode", ["record", "wait"])
def test_a_loss_without_products(setting, run, monkeypatch, mode):
    _, objective, optimizer = setting(evidence=mode, budget=4000.0)

    def refuse(vector):
        raise UnsupportedError("no second derivative here")

    monkeypatch.setattr(objective, "hessian_product", refuse)
    if mode == "wait":
        with pytest.raises(UnsupportedError, match="no second derivative"):
            run(optimizer, 3)
    else:
        run(optimizer, 3)
        assert evidence_of(optimizer)[0].message == "the curvature was not looked at: no second derivative here"
        assert optimizer.phase == "second"


def test_state_holds_the_verdict():
    inspection, fresh = Inspection("wait", verdict=Verdict(times=3)), Inspection("wait", verdict=Verdict(times=3))
    inspection.verdict.memory.times, inspection.memory.spent = 2, 1.5
    fresh.load_state_dict(inspection.state_dict())
    assert (fresh.verdict.memory.times, fresh.memory.spent) == (2, 1.5)
    inspection.reset()
    assert (inspection.verdict.memory.times, inspection.memory.spent) == (0, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "look"}, "mode"),
        ({"share": 0.0}, "share"),
        ({"share": 0.1, "total_share": 0.05}, "total_share"),
        ({"products": 2}, "products"),
        ({"least_samples": 0}, "least_samples"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Inspection(**settings)


def test_least_squares_have_no_subsets_and_say_so():
    points = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    objective = LeastSquares(lambda: model(points) - points**2, model)
    optimizer = TwoPhase(
        model.parameters(), objective, first=Adam(model.parameters(), lr=1e-2), second=LBFGS, rule=AtEpoch(3), budget=20.0
    )
    for _ in range(5):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    assert optimizer.phase == "second"
    messages = [e.message for e in optimizer.history.of(EventRecord) if e.name == "evidence"]
    assert len(messages) == 1
    assert "the curvature was not looked at" in messages[0]
