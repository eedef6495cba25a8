"""Two processes with unequal parts of the data: equal meters, no waiting, and one rank's error on both."""

from __future__ import annotations

import datetime
import re

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import NewtonCG, Objective
from homestretch.errors import NondeterministicLossError
from homestretch.objective.ranks import named, ranks_where, together

CPU = torch.device("cpu")


def network(norm=False):
    torch.manual_seed(1)
    layers = [nn.Linear(3, 4), *([nn.BatchNorm1d(4)] if norm else []), nn.Tanh(), nn.Linear(4, 1)]
    return nn.Sequential(*layers).double()


def data(rank, first, count):
    """A part of ``count`` samples, of which rank 0 has the first ones and rank 1 the rest."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    part = slice(0, first) if rank == 0 else slice(first, count)
    return inputs[part], inputs.sin().sum(1, keepdim=True)[part]


def vector(model):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()]


def raised(work):
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def costs(rank):
    model = network()
    objective = Objective(model, mse_loss, data(rank, 25, 30), micro_batch=10, group=dist.group.WORLD)
    spent, products = [], []
    for make in (objective.hessian_product, objective.hessian_product, objective.gauss_newton_product):
        products.append(torch.cat([t.flatten() for t in make(vector(model))]))
        spent.append(objective.meter.gradient_equivalents)
    objective.check_deterministic()
    return {"spent": [*spent, objective.meter.gradient_equivalents], "product": products[1]}


def steps(rank):
    """Thirds of 30 samples and of 29 do not add up to the same last bit."""
    objective = Objective(network(), mse_loss, data(rank, 30, 59), batch_size=10, group=dist.group.WORLD)
    spent = []
    for epoch in (1, 2):
        for closure in objective.minibatches(epoch):
            closure()
            spent.append(objective.meter.gradient_equivalents)
    return {"spent": spent}


def budgeted(rank):
    model = network()
    objective = Objective(model, mse_loss, data(rank, 25, 30), group=dist.group.WORLD)
    optimizer, spent = NewtonCG(model.parameters()), []
    while objective.meter.gradient_equivalents < 30.0:
        optimizer.step(objective)
        spent.append(objective.meter.gradient_equivalents)
    return {"spent": spent}


def buffered(rank):
    """DDP broadcasts the buffers at every forward pass that is to be followed by a sum of gradients."""
    model = network(norm=True)
    wrapped = nn.parallel.DistributedDataParallel(model)
    objective = Objective(wrapped, mse_loss, data(rank, 10, 16), batch_size=10, micro_batch=3, group=dist.group.WORLD)
    for closure in objective.minibatches(1):
        closure()
    products = [objective.hessian_product(vector(model)), objective.gauss_newton_product(vector(model))]
    return {"spent": [objective.meter.gradient_equivalents], "product": torch.cat([t.flatten() for p in products for t in p])}


def empty(rank):
    return {"raised": raised(lambda: Objective(network(), mse_loss, data(rank, 30, 30), group=dist.group.WORLD))}


class Noisy(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.layer, self.noise = nn.Linear(3, 1).double(), noise

    def forward(self, x):
        return self.layer(x) + (torch.rand(len(x), 1, dtype=x.dtype) if self.noise else 0.0)


def noisy(rank):
    objective = Objective(Noisy(rank == 0), mse_loss, data(rank, 15, 30), group=dist.group.WORLD)
    return {"raised": raised(objective.check_deterministic)}


class Augmented(torch.utils.data.Dataset):
    def __init__(self, tensors, noise):
        self.tensors, self.noise = tensors, noise

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        return self.tensors[0][index] + self.noise * torch.randn(3, dtype=torch.float64), self.tensors[1][index]


def augmented(rank):
    objective = Objective(network(), mse_loss, Augmented(data(rank, 15, 30), float(rank == 1)), group=dist.group.WORLD)
    return {"raised": raised(objective.check_deterministic)}


def broken(rank):
    """An error in the loss itself."""

    def loss(outputs, targets):
        if rank == 1:
            raise RuntimeError("shapes do not fit")
        return mse_loss(outputs, targets)

    objective = Objective(network(), loss, data(rank, 15, 30), group=dist.group.WORLD)
    return {"raised": raised(objective.check_deterministic)}


def unlike(rank):
    """Each rank has drawn its own parameters: two steps are of two different functions."""
    model = network()
    with torch.no_grad():
        model[0].bias += rank
    objective = Objective(model, mse_loss, data(rank, 15, 30), batch_size=5, group=dist.group.WORLD)
    return {"raised": [raised(objective), raised(lambda: next(objective.minibatches(1)))]}


def ungrouped(rank):
    """DDP says over which ranks the data are spread: without a sum over them each would go its own way after a swap."""
    wrapped = nn.parallel.DistributedDataParallel(network())
    objective = Objective(wrapped, mse_loss, data(rank, 25, 30))
    return {"loss": float(objective()), "gradient": torch.cat([p.grad.flatten() for p in wrapped.parameters()])}


CASES = {f.__name__: f for f in (costs, steps, budgeted, buffered, empty, noisy, augmented, broken, unlike, ungrouped)}


def worker(rank, address, results):
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2, timeout=patience)
    torch.save({name: case(rank) for name, case in CASES.items()}, f"{results}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each case returned on each rank; all in one pair of processes, which take long to start."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(str(folder / "rendezvous"), str(folder)), nprocs=2)
    one, other = (torch.load(folder / f"{rank}.pt") for rank in range(2))
    return {name: (one[name], other[name]) for name in CASES}


@pytest.mark.parametrize("name", ["costs", "steps", "budgeted", "buffered"])
def test_ranks_agree_on_the_cost_to_the_last_bit(name, found):
    one, other = found[name]
    assert one["spent"] == other["spent"]


def test_the_cost_is_what_was_done_on_all_ranks_together(found):
    """Both exact ways were tried on the first micro-batch of each rank, 10 and 5 of the 30 samples."""
    price = 1.0 + 15.0 / 30.0
    expected = [3.0 * price, 3.0 * (price + 1.0), 3.0 * (price + 1.0) + 2.0 * price]
    assert found["costs"][0]["spent"] == pytest.approx([*expected, expected[-1] + 2.0 / 3.0 * 15.0 / 30.0])
    assert found["steps"][0]["spent"] == pytest.approx([k / 3.0 for k in range(1, 7)])


def test_products_are_those_of_one_process(found):
    model = network()
    alone = Objective(model, mse_loss, data(0, 30, 30)).hessian_product(vector(model))
    for result in found["costs"]:
        torch.testing.assert_close(result["product"], torch.cat([t.flatten() for t in alone]), rtol=1e-12, atol=1e-14)
    one, other = found["buffered"]
    assert torch.equal(one["product"], other["product"])


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("empty", ("ValueError: data: reading this rank's share failed on rank 1", "ValueError: data must hold at least one")),
        ("noisy", ("NondeterministicLossError: two eval.*At fault: the model itself", "NondeterministicLossError: .*differ on rank 0")),
        ("augmented", ("NondeterministicLossError: data: .* on rank 1",) * 2),
        ("broken", ("ValueError: the check of the loss failed on rank 1", "RuntimeError: shapes do not fit")),
    ],
)  # fmt: skip
def test_an_error_of_one_rank_is_raised_on_all(name, messages, found):
    for result, message in zip(found[name], messages, strict=True):
        assert re.match(message, result["raised"], re.DOTALL)


def test_ranks_that_begin_at_different_points_are_refused_on_all(found):
    for result in found["unlike"]:
        assert all(re.match("ValueError: model: its parameters differ from rank to rank", text) for text in result["raised"])


def test_a_data_parallel_model_brings_its_group(found):
    alone = Objective(network(), mse_loss, data(0, 30, 30))
    expected = float(alone())
    for result in found["ungrouped"]:
        assert result["loss"] == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(result["gradient"], torch.cat([p.grad.flatten() for p in alone.parameters]))


def test_one_process_alone_is_rank_0():
    assert ranks_where(True, None, CPU) == [0]
    assert ranks_where(False, None, CPU) == []
    with pytest.raises(NondeterministicLossError, match="as it was"), together("work", None, CPU):
        raise NondeterministicLossError("as it was")


def test_ranks_in_words():
    assert (named([1]), named([0, 2])) == ("rank 1", "ranks 0, 2")
