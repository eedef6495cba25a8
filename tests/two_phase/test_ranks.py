"""Two processes, each with half of the data: the same decisions, points and costs on both, and those of one process."""

from __future__ import annotations

import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam

from homestretch import LBFGS, AtEpoch, Objective, TwoPhase
from homestretch.errors import UnsupportedError
from homestretch.history import EpochRecord
from homestretch.resort import MeasuredResort
from homestretch.swap import AtLoss

EPOCHS = 9


def network(norm=False):
    torch.manual_seed(1)
    layers = [nn.Linear(3, 7), *([nn.BatchNorm1d(7)] if norm else []), nn.Tanh(), nn.Linear(7, 2)]
    return nn.Sequential(*layers).double()


def data():
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(40, n, generator=generator, dtype=torch.float64) for n in (3, 2))


def half(rank):
    return tuple(t[20 * rank : 20 * (rank + 1)] for t in data())


def train(model, objective, rule, **options):
    first = SGD(model.parameters(), lr=0.05)
    optimizer = TwoPhase(
        model.parameters(), objective, first=first, second=LBFGS, rule=rule, resort=MeasuredResort(), budget=60.0, **options
    )
    for _ in range(EPOCHS):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    records = [(r.phase, r.loss, r.gradient_norm, r.gradient_equivalents) for r in optimizer.history.of(EpochRecord)]
    full = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return {
        "records": records,
        "point": torch.cat([p.detach().flatten() for p in full]),
        "power": optimizer.resort.memory.power,
    }


def plain(rank):
    model = network()
    objective = Objective(model, mse_loss, half(rank), batch_size=10, group=dist.group.WORLD)
    return train(model, objective, AtLoss(0.99), gradient_norm="probe", probe_samples=20)


def wrapped(rank):
    model = nn.parallel.DistributedDataParallel(network())
    objective = Objective(model, mse_loss, half(rank), batch_size=10, group=dist.group.WORLD)
    return train(model, objective, AtLoss(0.99))


def sharded(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = network()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return train(model, Objective(model, mse_loss, data(), batch_size=20), AtEpoch(3), evidence=None)


def spread(rank):
    """FSDP2 with the half of the data that is this rank's, whose averages are those of all."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model, alone = network(), network()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    objective, whole = Objective(model, mse_loss, half(rank), batch_size=10), Objective(alone, mse_loss, data())
    assert objective.samples == 40
    assert float(objective()) == pytest.approx(float(whole()), rel=1e-12)
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad.full_tensor(), q.grad)
    uneven = Objective(model, mse_loss, data() if rank else half(rank), batch_size=10, micro_batch=10)
    with pytest.raises(ValueError, match="the ranks have 2, 4 micro-batches"):
        uneven.loss()
    return train(model, objective, AtEpoch(3), evidence=None, gradient_norm="probe", probe_samples=20)


def resumed(rank):
    """FSDP2, saved by torch's distributed checkpoints in the convex phase and gone on with in new objects."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def made():
        model = network()
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        first, objective = Adam(model.parameters(), lr=0.01), Objective(model, mse_loss, data(), batch_size=20)
        return model, TwoPhase(model.parameters(), objective, first=first, second=LBFGS, rule=AtEpoch(3), evidence=None)

    def run(optimizer, epochs):
        for _ in range(epochs):
            for closure in optimizer.epoch():
                optimizer.step(closure)

    (model, optimizer), (other, again) = made(), made()
    run(optimizer, 6)
    again.allocate()
    held, state = (
        dict(zip(("model", "optimizer"), get_state_dict(*pair), strict=True)) for pair in ((model, optimizer), (other, again))
    )
    folder = [tempfile.mkdtemp()] if rank == 0 else [None]
    dist.broadcast_object_list(folder)
    checkpoint.save(held, checkpoint_id=folder[0])
    checkpoint.load(state, checkpoint_id=folder[0])
    set_state_dict(other, again, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    run(optimizer, 3)
    run(again, 3)
    points = [torch.cat([p.full_tensor().detach().flatten() for p in m.parameters()]) for m in (model, other)]
    assert torch.equal(*points)
    return {"records": [r.loss for r in again.history.of(EpochRecord)], "point": points[1]}


def settled(rank):
    model = network(norm=True)
    objective = Objective(model, mse_loss, half(rank), micro_batch=10, group=dist.group.WORLD)
    objective.settle()
    return {
        "records": [objective.loss()],
        "point": torch.cat([b.double().flatten() for b in (model[1].running_mean, model[1].running_var)]),
    }


def refused(rank):
    model = network()
    uneven = tuple(t[:30] if rank == 0 else t[30:] for t in data())
    objective = Objective(model, mse_loss, uneven, batch_size=10, group=dist.group.WORLD)
    with pytest.raises(ValueError, match="mini-batches of 10 and the mean over the ranks is 2"):
        next(objective.minibatches(1))
    with pytest.raises(UnsupportedError, match="seconds cannot end a run over several ranks"):
        LBFGS(model.parameters(), seconds=1.0).step(objective)
    return {"records": [], "point": torch.zeros(1)}


CASES = {f.__name__: f for f in (plain, wrapped, sharded, spread, resumed, settled, refused)}


def worker(rank, name, address, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    torch.save(CASES[name](rank), f"{results}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("name", CASES)
def test_ranks_agree_with_each_other_and_with_one_process(name, tmp_path):
    mp.spawn(worker, args=(name, str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert one["records"] == other["records"]
    assert torch.equal(one["point"], other["point"])
    assert one.get("power") == other.get("power")
    if name == "sharded":
        model = network()
        alone = train(model, Objective(model, mse_loss, data(), batch_size=20), AtEpoch(3), evidence=None)
        torch.testing.assert_close(one["point"], alone["point"], rtol=1e-6, atol=1e-8)
    elif name == "settled":
        model = network(norm=True)
        objective = Objective(model, mse_loss, data(), micro_batch=10)
        objective.settle()
        assert one["records"] == pytest.approx([objective.loss()], rel=1e-12)
    elif name in ("plain", "wrapped"):
        costs = [cost for phase, _, _, cost in one["records"] if phase == "first"]
        step = 1.5 if name == "plain" else 1.0  # the probe is half of the data
        assert costs == pytest.approx([step * (i + 1) for i in range(len(costs))])
        assert {"first", "second"} == {phase for phase, *_ in one["records"]}
