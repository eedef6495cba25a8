from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from homestretch import LBFGS, LeastSquares, TwoPhase
from homestretch.cost import CostMeter
from homestretch.errors import NonFiniteError
from homestretch.objective import living
from homestretch.objective.penalty import Penalized


class Alive:
    """Counts what it is asked, and is at its best at 0."""

    def __init__(self):
        self.x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
        self.meter, self.version, self.change = CostMeter(), 0, ""
        self.begun, self.told = 0, []
        self.last = math.inf

    def __call__(self):
        self.x.grad = (2.0 * (self.x - 1.0)).detach()
        return (self.x.detach() - 1.0).square().sum()

    def loss(self):
        return float((self.x.detach() - 1.0).square().sum())

    def advance(self):
        self.begun += 1

    def measure(self, loss):
        self.told.append(loss)
        return {"begun": float(self.begun)}

    def why_stop(self):
        return "enough" if self.begun >= self.last else ""

    def finish(self):
        with torch.no_grad():
            self.x.fill_(0.0)
        return True

    def diagnose(self):
        return "tired"


def test_a_fixed_function_has_nothing_to_say():
    fixed = lambda: 0.0  # noqa: E731
    living.advance(fixed)
    assert living.measure(fixed, 1.0) == {}
    assert living.change_of(fixed) == living.why_stop(fixed) == living.diagnose(fixed) == ""
    assert living.finish(fixed) is False


@pytest.mark.parametrize("maximize", [False, True])
def test_the_loop_tells_asks_and_records(maximize):
    f = Alive()
    function = Upside(f) if maximize else f
    optimizer = LBFGS([f.x], maximize=maximize)
    optimizer.step(function)
    record = optimizer.history[-1]
    assert record.extra["begun"] == 1.0
    assert f.told == [abs(record.loss)]
    f.last = 2
    optimizer.step(function)
    assert optimizer.stop_reason.name == "HELD_OUT"
    assert f.begun == 2
    assert f.x.item() == 0.0
    assert optimizer.scalars["loss"] == 1.0
    optimizer.step(function)
    assert f.begun == 2  # a loop that has stopped begins no iteration
    assert f.x.item() == 0.0


class Upside(living.Wrapped):
    """Minus the function inside."""

    def __init__(self, function):
        self.function = function
        self.meter, self.version = function.meter, 0

    def __call__(self):
        loss = self.function()
        self.function.x.grad.neg_()
        return -loss

    def loss(self):
        return -self.function.loss()

    def inner_loss(self, loss):
        return -loss


def test_a_wrapper_passes_everything_on():
    f = Alive()
    wrapped = Penalized(f, [f.x], [0.5])
    f.change = "moved"
    assert living.change_of(wrapped) == "moved"
    living.advance(wrapped)
    assert f.begun == 1
    total = float(wrapped())
    assert total == f.loss() + 0.25 * 4.0
    assert living.measure(wrapped, total) == {"begun": 1.0}
    assert f.told == [f.loss()]
    assert living.why_stop(wrapped) == ""
    assert living.diagnose(wrapped) == "tired"
    assert living.finish(wrapped)
    living.measure(wrapped, 123.0)
    assert math.isnan(f.told[-1])  # a loss that no evaluation gave


def test_recent_finds_the_newest_of_a_loss_and_forgets_the_oldest():
    recent = living.Recent(2)
    recent.note(1.0, "a")
    recent.note(2.0, "b")
    recent.note(1.0, "c")
    assert recent.at(1.0) == "c"
    assert recent.at(2.0) == "b"
    recent.note(3.0, "d")
    assert recent.at(2.0) is None
    assert recent.at(math.nan) is None


def test_terms_in_the_record_are_those_of_the_accepted_point():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.linspace(-1.0, 1.0, 30, dtype=torch.float64).unsqueeze(1)

    def residuals(model, points):
        return {"fit": model(points) - points.sin(), "small": 0.1 * model(points)}

    f = LeastSquares(residuals, net, x, weights={"small": 3.0})
    optimizer = LBFGS(net.parameters())
    for _ in range(12):
        optimizer.step(f)
        extra = optimizer.history[-1].extra
        assert extra["loss/fit"] + extra["loss/small"] == pytest.approx(optimizer.history[-1].loss, rel=1e-15)
        assert extra["loss/small"] == pytest.approx(0.03 * net(x).square().mean().item(), rel=1e-14)


@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_the_term_that_is_not_finite_is_named_in_either_phase(decay):
    model, x = nn.Linear(1, 1).double(), torch.ones(4, 1, dtype=torch.float64)
    f = LeastSquares(lambda m, p: {"fine": m(p), "root": (m(p) - 100.0).sqrt()}, model, x)
    adam = torch.optim.Adam(model.parameters(), weight_decay=decay)
    optimizer = TwoPhase(model.parameters(), f, first=adam, budget=10)
    with pytest.raises(NonFiniteError, match=r"epoch 1 is nan: .* \(not finite: root\)"):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    model.reset_parameters()
    with pytest.raises(NonFiniteError, match=r"loss nan \(not finite: root\), gradient norm"):
        LBFGS(model.parameters()).step(optimizer.second_function(f))
