from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import (
    LBFGS,
    AtEpoch,
    ConjugateGradient,
    LeastSquares,
    NoResort,
    Objective,
    SelfScaledBroyden,
    StopReason,
    TwoPhase,
    fit,
)
from homestretch import promotion as promotion_module
from homestretch.decision import Decision
from homestretch.errors import HomestretchWarning, UnsupportedError
from homestretch.history import EventRecord
from homestretch.promotion import CastBatches, Promotion, cast_floats, promote
from homestretch.two_phase.transitions import go_back

METHODS = {"cg": ConjugateGradient, "lbfgs": LBFGS, "broyden": SelfScaledBroyden}


class Teacher(nn.Module):
    """A network with a buffer, so that the loss can be made exactly zero."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x):
        return self.layers(x) + self.shift


def data(samples=40):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 2, generator=generator)
    with torch.no_grad():
        return inputs, Teacher(7)(inputs)


def objective(**options):
    model = Teacher(3)
    return model, Objective(model, mse_loss, data(), **options)


def test_everything_is_cast_in_place_and_back():
    model, function = objective()
    function()
    parameters, before = list(model.parameters()), function.loss()
    saved = [p.detach().clone() for p in parameters]
    with promote(function) as promotion:
        assert promotion.active
        assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
        assert {t.dtype for t in [*model.parameters(), *model.buffers()]} == {torch.float64}
        assert all(p.grad.dtype == torch.float64 for p in parameters)
        assert function.loss() == pytest.approx(before, rel=1e-6)
        assert float(function()) == pytest.approx(before, rel=1e-6)
        assert function.subset(10).loss() > 0.0
    assert {t.dtype for t in [*model.parameters(), *model.buffers()]} == {torch.float32}
    assert all(torch.equal(p, s) for p, s in zip(parameters, saved, strict=True))
    assert function.loss() == before


@pytest.mark.parametrize("method", METHODS)
def test_a_descent_stalled_by_float32_goes_on_with_what_it_learned(method):
    model, function = objective()
    optimizer = METHODS[method](model.parameters())
    stalled = optimizer.minimize(function, 3000)
    assert optimizer.stop_reason is not None
    assert stalled > 1e-13
    restarts = sum(bool(r.restart) for r in optimizer.history)
    promote(function)
    optimizer.step(function)
    assert "cast to float64" in optimizer.history[-1].changed
    assert optimizer.scalars["rounding"] == 1e-10
    assert all(t.dtype == torch.float64 for p in model.parameters() for t in optimizer.state[p].values())
    # no fresh start for the cast itself: a direction that stopped has forgotten all, the first float32 stop aside
    assert sum(bool(getattr(r, "restart", "")) for r in optimizer.history) <= restarts + 1
    assert optimizer.minimize(function, 300) < 0.99 * stalled  # how far depends on the processor's last digits


def test_the_cast_itself_costs_no_restart():
    """Both go on from the same float32 state; one is cast: the next direction is the same to float32's rounding."""
    steps = []
    for cast in (False, True):
        model, function = objective()
        optimizer = LBFGS(model.parameters(), memory=5)
        for _ in range(8):
            optimizer.step(function)
        if cast:
            promote(function)
        optimizer.step(function)
        record = optimizer.history[-1]
        assert record.restart == ""
        steps.append((record.slope, record.cosine, record.first_step))
    assert steps[0] == pytest.approx(steps[1], rel=1e-3)


def test_least_squares_points_are_cast():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    points = {"fit": torch.linspace(-1, 1, 20)[:, None]}
    function = LeastSquares(lambda net, p: {"fit": net(p["fit"]) - p["fit"].sin()}, model, points)
    before = function.loss()
    promotion = promote(function)
    assert function.points["fit"].dtype == torch.float64
    assert function.loss() == pytest.approx(before, rel=1e-5)
    promotion.undo()
    assert torch.equal(function.points["fit"], points["fit"])
    assert function.loss() == before


def test_tensors_of_the_loss_are_cast_too():
    """Class weights stand in no model, and cross entropy takes them in the dtype of its inputs only."""
    inputs, targets = data()
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([0.3]))
    model = Teacher(3)
    function = Objective(model, loss, (inputs, (targets > 0.0).float()))
    with promote(function):
        assert loss.pos_weight.dtype == torch.float64
    assert loss.pos_weight.dtype == torch.float32
    with pytest.warns(HomestretchWarning, match="class weights"):
        weighted = Objective(
            nn.Linear(2, 2), nn.CrossEntropyLoss(torch.tensor([1.0, 3.0])), (inputs, (inputs[:, 0] > 0).long())
        )
    before = weighted.loss()
    with promote(weighted):
        assert weighted.loss() == pytest.approx(before, rel=1e-5)


def test_constants_of_the_old_dtype_are_an_error_that_undoes_all():
    model = nn.Linear(2, 1)
    constant = torch.randn(3, 2)
    function = LeastSquares(lambda: model(constant), model)
    with pytest.raises(UnsupportedError, match=r"cannot be evaluated in float64: .* buffers"):
        promote(function)
    assert model.weight.dtype == torch.float32
    assert function.loss() > 0.0


def test_a_device_without_the_dtype_is_refused(monkeypatch):
    model, function = objective()
    monkeypatch.setattr(promotion_module, "has_dtype", lambda device, dtype: False)
    with pytest.raises(UnsupportedError, match="the device cpu has no float64: move model and data to the CPU"):
        promote(function)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_complex_tensors_are_refused():
    model = nn.Linear(2, 1)
    model.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(UnsupportedError, match="complex"):
        promote(Objective(model, mse_loss, (torch.randn(4, 2), torch.randn(4, 1))))


def test_applied_twice_and_undone_twice():
    _, function = objective()
    promotion = Promotion(function)
    assert promotion.undo() == "nothing was promoted"
    assert promotion.apply() == "promoted from float32 to float64"
    assert promotion.apply() == "already in float64"
    assert promotion.undo() == "back from float64"
    assert not isinstance(function.batches, CastBatches)


def test_cast_floats_keeps_structure_and_integers():
    tree = {"a": (torch.zeros(1), [torch.zeros(1, dtype=torch.int64), "text"]), "b": None}
    cast = cast_floats(tree, torch.float64)
    assert cast["a"][0].dtype == torch.float64
    assert cast["a"][1][0].dtype == torch.int64
    assert cast["a"][1][1] == "text"
    assert cast["b"] is None


def run(epochs, out=None, resume=False, promoted=True):
    model = Teacher(3)
    result = fit(
        model, mse_loss, data(), epochs=epochs, batch_size=10, second=LBFGS, rule=AtEpoch(3), resort=NoResort(),
        validation=data(10), promote=promoted, out=out, resume=resume,
    )  # fmt: skip
    return model, result


def test_two_phases_with_promotion():
    model, result = run(40)
    (swap,) = [e for e in result.history.of(EventRecord) if e.name == "swap"]
    assert "promoted from float32 to float64" in swap.message
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert result.loss < swap.values["exact_loss"]
    (plain,) = [e for e in run(4, promoted=False)[1].history.of(EventRecord) if e.name == "swap"]
    assert swap.values["exact_loss"] == pytest.approx(plain.values["exact_loss"], rel=1e-5)


def test_a_promoted_run_is_resumed_bit_for_bit(tmp_path):
    whole_model, whole = run(9)
    run(6, out=tmp_path)
    model, resumed = run(9, out=tmp_path, resume=True)
    assert resumed.loss == whole.loss
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole_model.parameters(), strict=True))


def promoted(epochs):
    model, function = objective(batch_size=10)
    first = torch.optim.Adam(model.parameters())
    optimizer = TwoPhase(
        model.parameters(), function, first=first, rule=AtEpoch(1), resort=NoResort(), second=LBFGS, promote=True
    )
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    return model, optimizer


def test_a_promoted_state_is_not_gone_on_with_from_rounded_parameters():
    """A model in float32 that is loaded before the optimizer takes what float32 holds, and the steps are below that."""
    model, optimizer = promoted(4)
    weights, state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other, again = promoted(0)
    other.load_state_dict(weights)
    with pytest.raises(ValueError, match="load the optimizer first"):
        again.load_state_dict(state)
    other, again = promoted(0)
    again.load_state_dict(state)
    other.load_state_dict(weights)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    again.load_state_dict(state)  # once more, in the convex phase: they stay as they are
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_at_the_swap_nothing_is_rounded_whatever_is_loaded_first():
    model, optimizer = promoted(1)
    other, again = promoted(0)
    other.load_state_dict(model.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_a_promoted_state_needs_promotion():
    model, function = objective(batch_size=10)
    make = {"first": torch.optim.Adam(model.parameters()), "rule": AtEpoch(1), "resort": NoResort(), "second": LBFGS}
    optimizer = TwoPhase(model.parameters(), function, promote=True, **make)
    for _ in range(3):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    state = optimizer.state_dict()
    go_back(optimizer, Decision(swap=True, reason="enough", rule="test"), function.loss())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert "back from float64" in optimizer.history[-1].message
    with pytest.raises(ValueError, match="promote=True"):
        TwoPhase(model.parameters(), function, **make).load_state_dict(state)
    with pytest.raises(ValueError, match="promote needs an objective"):
        TwoPhase(model.parameters(), promote=True, **make)


def test_stop_reason_offers_promotion():
    assert "float64" in StopReason.NO_DECREASE.value
