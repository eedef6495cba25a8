"""Going on with a run needs its data and settings; what differs is said by name before anything is loaded."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam

from homestretch import LBFGS, AtEpoch, LeastSquares, NoResort, Objective, fit
from homestretch.errors import CheckpointError
from homestretch.same_run import bit_sum, checksum, traits


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def data(count=40):
    inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return inputs, inputs.prod(1, keepdim=True)


def settings(**options):
    return {"batch_size": 16, "rule": AtEpoch(2), "resort": NoResort(), "second": LBFGS, "seed": 3, **options}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"batch_size": 20}, "batch_size was 16 and is 20"),
        ({"first": lambda p: Adam(p, lr=0.1)}, "first: lr was 0.001 and is 0.1"),
        ({"first": lambda p: Adam(p, lr=1e-3, betas=(0.8, 0.999))}, r"betas was \[0.9, 0.999\] and is \[0.8, 0.999\]"),
        ({"mode": "train"}, "mode was eval and is train"),
        ({"dropout": "fixed", "seed": 5}, "seed was 3 and is 5; dropout was off and is fixed"),
    ],
)
def test_another_argument_is_refused_by_name(tmp_path, change, names):
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    model = network()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(CheckpointError, match=f"{names}.*begin anew in another folder"):
        fit(model, mse_loss, data(), epochs=4, out=tmp_path, resume=True, **settings(**change))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert fit(network(), mse_loss, data(), epochs=4, out=tmp_path, resume=True, **settings()).epochs == 4


def test_other_data_are_refused(tmp_path):
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    with pytest.raises(CheckpointError, match="samples was 40 and is 41"):
        fit(network(), mse_loss, data(41), epochs=4, out=tmp_path, resume=True, **settings())
    inputs, targets = data()
    with pytest.raises(CheckpointError, match="data of the same size hold other values"):
        fit(network(), mse_loss, (inputs, -targets), epochs=4, out=tmp_path, resume=True, **settings())
    targets[20] += 1.0
    with pytest.raises(CheckpointError, match="data of the same size hold other values"):
        fit(network(), mse_loss, (inputs, targets), epochs=4, out=tmp_path, resume=True, **settings())


def test_what_decides_nothing_may_change(tmp_path):
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    options = {"first": lambda p: Adam(p, lr=torch.tensor(1e-3, dtype=torch.float64), foreach=False), "micro_batch": 7}
    assert fit(network(), mse_loss, data(), epochs=4, out=tmp_path, resume=True, **settings(**options)).epochs == 4


def test_groups_are_told_apart():
    model = network()
    objective = Objective(model, mse_loss, data())
    first = SGD([{"params": [p], "lr": 0.1 * n} for n, p in enumerate(objective.parameters)], lr=1.0)
    found = traits(objective, first)
    assert (found["first, group 0: lr"], found["first, group 2: lr"]) == (0.0, 0.2)
    assert found["first"] == "SGD"


def test_of_residuals_only_the_optimizer_is_told():
    model = network()
    objective = LeastSquares(lambda network, x: network(x).squeeze(1), model, data()[0])
    assert not {"seed", "samples", "data"} & traits(objective, Adam(model.parameters())).keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_the_checksum_sees_the_ends_of_every_tensor(dtype):
    values = torch.arange(12).reshape(4, 3).remainder(2).to(dtype)
    changed = values.clone()
    changed[-1, 0] = ~changed[-1, 0] if dtype is torch.bool else changed[-1, 0] + 1
    assert checksum((values, values)) == checksum((values.clone(), values))
    assert len({checksum((values, values)), checksum((changed, values)), checksum((values, changed))}) == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex128, torch.int32, torch.bool])
def test_the_sum_sees_every_sample(dtype):
    values = torch.arange(12).reshape(4, 3).remainder(2).to(dtype)
    changed = values.clone()
    changed[2, 1] = ~changed[2, 1] if dtype is torch.bool else changed[2, 1] + 1
    assert bit_sum((values, changed)) == bit_sum((values.clone(), changed.T))
    assert bit_sum((values, values)) != bit_sum((values, changed))


def test_without_a_folder_the_data_are_not_read_for_it(monkeypatch):
    def reads(*_):
        raise AssertionError("the data were read for a checkpoint that is never written")

    monkeypatch.setattr("homestretch.same_run.checksum", reads)
    assert fit(network(), mse_loss, data(), epochs=1, **settings()).epochs == 1
