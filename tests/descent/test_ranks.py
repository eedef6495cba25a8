"""Two processes: the same steps on every rank, bit for bit, and those of one process to rounding."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import mse_loss

from homestretch import LBFGS, ConjugateGradient, NewtonCG, Objective
from homestretch.directions import conjugate_gradient

METHODS = {"cg": ConjugateGradient, "lbfgs": LBFGS, "newton-cg": NewtonCG}
STEPS = 6


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2)).double()


def data():
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(41, n, generator=generator, dtype=torch.float64) for n in (3, 2))


def run(model, method, objective):
    optimizer = METHODS[method](model.parameters())
    losses = [optimizer.step(objective) for _ in range(STEPS)]
    full = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return losses, torch.cat([p.detach().flatten() for p in full])


def averaged_closure(model, inputs, targets):
    """A user's own closure: each rank has half the data, losses and gradients are averaged."""

    def closure():
        loss = mse_loss(model(inputs), targets)
        loss.backward()
        value = loss.detach()
        for t in [value, *(p.grad for p in model.parameters())]:
            dist.all_reduce(t)
            t /= dist.get_world_size()
        return value

    return closure


def sharded_closure(model, inputs, targets):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))

    def closure():
        loss = mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    return closure


def restarting_worker(rank, address, results):
    """One rank has 24 of the 44 parameters, the other 20."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2, timeout=timedelta(seconds=30))
    model = network()
    closure = sharded_closure(model, *data())
    conjugate_gradient._RESTART = 0.13
    optimizer = ConjugateGradient(model.parameters())
    optimizer.minimize(closure, 14)
    torch.save([r.iteration for r in optimizer.history if "since the last restart" in r.restart], f"{results}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def worker(rank, how, method, address, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    model = network()
    inputs, targets = data()
    if how == "closure":
        half = slice(0, 20) if rank == 0 else slice(20, 40)
        losses, point = run(model, method, averaged_closure(model, inputs[half], targets[half]))
    elif how == "objective":
        half = slice(0, 15) if rank == 0 else slice(15, 41)
        objective = Objective(model, mse_loss, (inputs[half], targets[half]), micro_batch=10, group=dist.group.WORLD)
        losses, point = run(model, method, objective)
    else:
        losses, point = run(model, method, sharded_closure(model, inputs, targets))
    torch.save((losses, point), f"{results}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("how", "method"),
    [(how, method) for how in ("closure", "objective", "sharded") for method in ("cg", "lbfgs")] + [("sharded", "newton-cg")],
)
def test_ranks_take_the_same_steps(how, method, tmp_path):
    mp.spawn(worker, args=(how, method, str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    (losses, point), (other_losses, other_point) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert losses == other_losses
    assert torch.equal(point, other_point)
    model = network()
    inputs, targets = data()
    if how == "closure":
        inputs, targets = inputs[:40], targets[:40]
    objective = Objective(model, mse_loss, (inputs, targets))
    # a closure has no cheap loss, so the search probes differently than with an objective
    alone, reference = run(model, method, objective if how == "objective" else lambda: objective())
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(alone), rtol=1e-5, atol=0)
    torch.testing.assert_close(point, reference, rtol=1e-4, atol=1e-6)


def test_a_restart_after_so_many_iterations_comes_on_all_ranks_at_once(tmp_path):
    """It is by the number of all parameters, of which ranks may hold different numbers."""
    mp.spawn(restarting_worker, args=(str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [[7, 13]] * 2
