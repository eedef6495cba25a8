"""Every rule of the choice, its reason and its price."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from homestretch import LeastSquares, Objective, SelfScaledBroyden, TwoPhase, auto
from homestretch.auto import METHODS, choose
from homestretch.history import EventRecord
from homestretch.packing import unpack
from homestretch.swap import AtEpoch


def network(width: int = 4, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).to(dtype)


def squares(net: nn.Sequential, count: int, *, with_points: bool = True) -> LeastSquares:
    """A fit of a sine at ``count`` points; without points the residual function holds them itself."""
    x = torch.linspace(-1, 1, count, dtype=next(net.parameters()).dtype).unsqueeze(1)
    if with_points:
        return LeastSquares(lambda model, points: model(points) - torch.sin(3 * points), net, x)
    return LeastSquares(lambda: net(x) - torch.sin(3 * x), net)


def coupled(model: nn.Module, points: Tensor) -> Tensor:
    """Residuals that depend on all points at once."""
    values = model(points)
    return values - values.mean()


CASES = {
    "surplus": (lambda: squares(network(), 13), "LevenbergMarquardt", "13 residuals for 13 float64 parameters"),
    "too few residuals": (lambda: squares(network(), 12), "SelfScaledBroyden", "12 residuals are fewer than 1 a parameter"),
    "no points": (
        lambda: squares(network(), 40, with_points=False),
        "SelfScaledBroyden",
        "backward pass for each of its columns",
    ),
    "coupled": (
        lambda: LeastSquares(coupled, network(), torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(1)),
        "SelfScaledBroyden",
        "backward pass for each of its columns",
    ),
    "many residuals a point": (
        lambda: LeastSquares(
            lambda model, points: model(points) * torch.arange(1.0, 13.0) - 1.0,
            network(),
            torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(1),
        ),
        "SelfScaledBroyden",
        "its Jacobian costs 12.3 gradient-equivalents, more than 8",
    ),
    "float32": (
        lambda: squares(network(dtype=torch.float32), 40),
        "SelfScaledBroyden",
        "its normal equations need float64, not float32",
    ),
    "data set": (
        lambda: Objective(network(), nn.functional.mse_loss, (torch.zeros(9, 1).double(), torch.zeros(9, 1).double())),
        "SelfScaledBroyden",
        "Objective offers no residuals",
    ),
    "many for a Jacobian": (lambda: squares(network(40), 200), "SelfScaledBroyden", "121 parameters are more than 100"),
    "many for a matrix": (lambda: squares(network(2100), 10), "LBFGS", "6301 parameters are more than the 6000"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_choice_and_its_reason(case: str) -> None:
    make, name, reason = CASES[case]
    function = make()
    before = [p.detach().clone() for p in function.parameters]
    choice = choose(function.parameters, function)
    assert choice.name == name
    assert reason in choice.reason
    assert type(choice.make(function.parameters)) is METHODS[name]
    assert choice.cost == function.meter.gradient_equivalents
    assert f"finding out cost {choice.cost:.2g} gradient-equivalents" in choice.reason
    assert all(torch.equal(a, b) for a, b in zip(before, function.parameters, strict=True))


def test_what_is_not_needed_is_not_asked() -> None:
    costs = {name: choose(*_asked(make)).cost for name, (make, _, _) in CASES.items()}
    assert costs["float32"] == costs["data set"] == costs["many for a matrix"] == costs["many for a Jacobian"] == 0.0
    assert costs["too few residuals"] == pytest.approx(1 / 3)
    assert 1.0 < costs["surplus"] < 3.0


@pytest.mark.parametrize(
    ("left", "name"), [(math.inf, "LevenbergMarquardt"), (4000.0, "LevenbergMarquardt"), (50.0, "SelfScaledBroyden")]
)
def test_the_budget_pays_for_some_iterations(left: float, name: str) -> None:
    function = squares(network(), 40)
    choice = choose(function.parameters, function, left)
    assert choice.name == name
    assert ("not enough for 20" in choice.reason) == (name == "SelfScaledBroyden")


def _asked(make) -> tuple[list[Tensor], object]:
    function = make()
    return function.parameters, function


def test_closures_alone() -> None:
    assert choose(list(network().parameters()), None).name == "SelfScaledBroyden"
    assert "only closures are known" in choose(list(network().parameters()), None).reason
    assert choose(list(network(2100).parameters()), None).name == "LBFGS"


def test_several_dtypes() -> None:
    net = network()
    net[2].float()
    choice = choose(list(net.parameters()), None)
    assert (choice.name, choice.cost) == ("LBFGS", 0.0)
    assert "several dtypes" in choice.reason


def test_sharded_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto.vectors, "shard_groups", lambda tensors: ["a group"])
    choice = choose(list(network().parameters()), None)
    assert choice.name == "LBFGS"
    assert "sharded" in choice.reason


@pytest.mark.parametrize(
    ("memory", "name", "reason"),
    [
        (10**9, "LevenbergMarquardt", "26 residuals"),
        (20_000, "SelfScaledBroyden", "a Jacobian of 26 by 13 does not fit"),
        (4_000, "LBFGS", "a dense matrix of 13 parameters does not fit"),
        (None, "LevenbergMarquardt", "26 residuals"),
    ],
)
def test_memory_at_hand(memory: int | None, name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "available", lambda device: memory)
    function = squares(network(), 26)
    choice = choose(function.parameters, function)
    assert choice.name == name
    assert reason in choice.reason


def test_residuals_that_fail_are_no_obstacle() -> None:
    def broken(model: nn.Module, points: Tensor) -> Tensor:
        raise RuntimeError("no such kernel")

    net = network()
    function = LeastSquares(broken, net, torch.zeros(40, 1, dtype=torch.float64))
    choice = choose(function.parameters, function)
    assert choice.name == "SelfScaledBroyden"
    assert "no such kernel" in choice.reason


def two_phase(net: nn.Sequential, function: LeastSquares, **first: float) -> TwoPhase:
    return TwoPhase(net.parameters(), function, first=Adam(net.parameters(), lr=1e-2, **first), rule=AtEpoch(3))  # type: ignore[arg-type]


def run(optimizer: TwoPhase, epochs: int) -> None:
    for _ in range(epochs):
        for closure in optimizer.epoch():
            optimizer.step(closure)


def test_the_reason_is_in_the_record_and_the_method_works() -> None:
    net = network()
    function = squares(net, 40)
    optimizer = two_phase(net, function)
    run(optimizer, 3)
    before = function.loss()
    run(optimizer, 20)
    (swap,) = [record for record in optimizer.history.of(EventRecord) if record.name == "swap"]
    assert "method: LevenbergMarquardt (40 residuals for 13 float64 parameters" in swap.message
    assert "finding out cost" in swap.message
    assert function.loss() < 1e-3 * before


def test_weight_decay_makes_it_no_sum_of_squares() -> None:
    net = network()
    optimizer = two_phase(net, squares(net, 40), weight_decay=1e-4)
    run(optimizer, 6)
    assert isinstance(optimizer.second, SelfScaledBroyden)
    assert "Penalized offers no residuals" in optimizer.convex.reason


def test_a_reload_keeps_the_choice_whatever_memory_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    optimizer = two_phase(net, squares(net, 40))
    run(optimizer, 6)
    state, weights = deepcopy((optimizer.state_dict(), net.state_dict()))
    run(optimizer, 4)

    monkeypatch.setattr(auto, "available", lambda device: 0)
    other = network()
    other.load_state_dict(weights)
    resumed = two_phase(other, squares(other, 40))
    resumed.load_state_dict(state)
    assert resumed.convex.reason == optimizer.convex.reason
    run(resumed, 4)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert resumed.spent == optimizer.spent  # nor is it found out, and paid for, anew how Jacobians are made

    group = state["param_groups"][0]
    group["two_phase"] = {**unpack(group["two_phase"]), "method": "Magic"}
    with pytest.raises(ValueError, match="'Magic'; this version chooses"):
        two_phase(other, squares(other, 40)).load_state_dict(state)
