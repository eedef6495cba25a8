"""fit() in two processes that are given one folder: they save, stop and go on together."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from homestretch import LBFGS, AtEpoch, Objective, fit
from homestretch.history import History

LAST = 9


def run(rank, epochs, **options):
    """A run with dropout, whose masks are each rank's own."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 1)).double()
    torch.manual_seed(10 + rank + 100 * options.get("resume", False))
    inputs = torch.linspace(-2, 2, 40, dtype=torch.float64).unsqueeze(1)[rank::2]
    objective = Objective(model, mse_loss, (inputs, inputs.sin()), batch_size=5, group=dist.group.WORLD)
    result = fit(model, objective, epochs=epochs, first=lambda p: Adam(p, lr=1e-2), second=LBFGS, rule=AtEpoch(5), **options)
    return {"loss": result.loss, "epochs": result.epochs, "stop": result.stop}


def left_alone(rank, out):
    return run(rank, LAST)


def killed_and_resumed(rank, out):
    """Before the swap, with the processes killed between the one's checkpoint and the other's."""
    run(rank, 4, out=out)
    if rank == 1:
        own = Path(out) / "rank1"
        os.replace(own / "checkpoint.previous.pt", own / "checkpoint.pt")
    dist.barrier()
    return run(rank, LAST, out=out, resume=True)


def ended_by_one(rank, out):
    return run(rank, LAST, callbacks=[lambda progress: rank == 1 and progress.epoch == 3])


def missing(rank, out):
    there = Path(out).parent / "killed_and_resumed"
    try:
        run(rank, LAST, out=there if rank == 0 else out, resume=True)
    except Exception as error:
        return {"error": str(error)}
    return {}


CASES = {f.__name__: f for f in (left_alone, killed_and_resumed, ended_by_one, missing)}


def worker(rank, address, folder):
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2, timeout=patience)
    torch.save({name: case(rank, f"{folder}/{name}") for name, case in CASES.items()}, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(str(folder / "rendezvous"), str(folder)), nprocs=2)
    one, other = (torch.load(folder / f"{rank}.pt") for rank in range(2))
    return folder, {name: (one[name], other[name]) for name in CASES}


def test_one_folder_serves_all_ranks_and_a_kill_between_their_checkpoints_costs_nothing(found):
    folder, results = found
    assert results["killed_and_resumed"] == results["left_alone"]
    for place in (folder / "killed_and_resumed", folder / "killed_and_resumed" / "rank1"):
        assert [r.epoch for r in History.read(place / "record.jsonl") if r.kind == "epoch"] == list(range(1, LAST + 1))


def test_the_wish_of_one_ranks_callback_ends_all(found):
    for result in found[1]["ended_by_one"]:
        assert (result["epochs"], result["stop"]) == (3, "a callback asked for the end")


def test_a_checkpoint_that_one_rank_lacks_is_told_on_all(found):
    one, other = found[1]["missing"]
    assert "reading the checkpoint failed on rank 1" in one["error"]
    assert "there is no checkpoint in" in other["error"]
