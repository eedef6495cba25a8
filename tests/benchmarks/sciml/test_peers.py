"""Every peer runs on every kind of problem it takes, counted, and the JAX forms equal ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.sciml import Burgers, Convection, Poisson2D, WarmUp, Zoo
from benchmarks.sciml.flat import FlatProblem, TracedMeter
from benchmarks.sciml.peers import PEERS, Peer, run_peer
from benchmarks.sciml.problem import Problem

SSBROYDEN = "ssbroyden-optimistix"
COMPILED = pytest.mark.slow  # XLA compiles the whole solver: 15 seconds
NAMES = [f"{peer.library}/{peer.method}" for peer in PEERS]
SMALL = {
    "zoo": lambda: Zoo(0, "runge", 8, points=41),
    "poisson-2d": lambda: Poisson2D(0, width=8, side=5),
    "convection": lambda: Convection(0, (6, 6), points=30),
    "burgers": lambda: Burgers(0, (6, 6), points=40, sides=10, warm_up=WarmUp(steps=10)),
}


@pytest.mark.parametrize(
    "peer", [pytest.param(peer, marks=[COMPILED] if peer.library == SSBROYDEN else []) for peer in PEERS], ids=NAMES
)
def test_each_peer_lowers_the_loss_within_its_budget(peer: Peer) -> None:
    pytest.importorskip(peer.library.replace("-", "_") if peer.library != "pytorch-minimize" else "torchmin")
    problem = SMALL["zoo"]()
    start = problem.loss().item()
    meter = TracedMeter(FlatProblem(problem), budget=150.0, seconds=60.0)
    status, reason = run_peer(peer, meter)
    assert status == "budget", reason
    assert meter.samples[-1].loss < 0.5 * start
    assert 150 <= meter.cost < 160 if peer.library != SSBROYDEN else meter.cost <= 200
    assert meter.iterations > 0
    assert problem.loss().item() == pytest.approx(meter.best, rel=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "scipy/BFGS",
        "torch/LBFGS",
        pytest.param(f"{SSBROYDEN}/SSBroyden", marks=COMPILED),
        "torch/adam-cosine",
    ],
)
def test_legs_go_on_over_redrawn_points(name: str) -> None:
    pytest.importorskip(name.split("/")[0].replace("-", "_"))
    problem = SMALL["burgers"]()
    problem.redraw_every = 20
    redraws = []
    original = problem.redraw
    problem.redraw = lambda: (redraws.append(1), original())  # type: ignore[method-assign]
    meter = TracedMeter(FlatProblem(problem), seconds=100.0, iterations=50)
    status, reason = run_peer(PEERS[NAMES.index(name)], meter)
    assert status == "iterations", reason
    assert meter.iterations >= 50
    assert len(redraws) == 2


def test_a_peers_own_crash_is_a_result() -> None:
    def crash(meter: TracedMeter) -> str:
        raise RuntimeError("no such luck")

    meter = TracedMeter(FlatProblem(SMALL["zoo"]()))
    assert run_peer(Peer("torch", "crash", crash), meter) == ("failed", "RuntimeError: no such luck")
    assert run_peer(Peer("torch", "none", lambda meter: "done"), meter) == ("stopped", "done")


@pytest.mark.parametrize("name", SMALL)
def test_jax_losses_and_gradients_equal_ours(name: str) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("ssbroyden_optimistix")  # turns float64 on
    from benchmarks.sciml.jax_peer import jax_loss

    problem: Problem = SMALL[name]()
    flat = FlatProblem(problem)
    x = flat.start() + 0.1 * torch.randn(flat.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    ours = flat.loss(x)
    (gradient,) = torch.autograd.grad(ours, x)
    loss, data = jax_loss(problem)
    theirs, their_gradient = jax.jit(jax.value_and_grad(loss))(jax.numpy.asarray(x.detach().numpy()), data)
    assert theirs.dtype == np.float64
    assert float(theirs) == pytest.approx(ours.item(), rel=1e-12)
    np.testing.assert_allclose(np.asarray(their_gradient), gradient.numpy(), rtol=1e-9, atol=1e-10)
