from __future__ import annotations

import copy
import io
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from homestretch import Diagonal, HagerZhang, SelfScaledBroyden, vectors
from homestretch.directions.base import Step
from homestretch.directions.broyden_updates import VARIANTS
from homestretch.directions.self_scaled_broyden import SelfScaledBroydenDirection, next_first_step
from homestretch.errors import UnsupportedError
from homestretch.preconditioners import Inverse
from tests.directions.broyden_reference import bfgs, next_inverse_hessian
from tests.directions.problems import closure_of, regression, rosenbrock


def chain(x):
    """A strongly convex function that is no quadratic."""
    return 0.5 * (torch.linspace(1.0, 20.0, x.numel(), dtype=x.dtype) * x.square()).sum() + torch.cosh(x[1:] - x[:-1]).sum()


def steps(optimizer, x, closure, count):
    """The points and gradients of each iteration, the start included."""
    closure()
    found = [(x.detach().numpy().copy(), x.grad.numpy().copy())]
    for _ in range(count):
        optimizer.step(closure)
        found.append((x.detach().numpy().copy(), x.grad.numpy().copy()))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("initial", ["scaled", "identity"])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_matrix_and_directions_follow_the_reference_loop(variant, initial, preconditioned):
    diagonal = torch.linspace(0.5, 3.0, 6, dtype=torch.float64)
    x, closure = closure_of(rosenbrock, [-1.2, 1.0, -0.5, 0.8, 1.1, 0.3])
    options = {"preconditioner": Diagonal([diagonal])} if preconditioned else {}
    optimizer = SelfScaledBroyden([x], variant, initial=initial, **options)
    found = steps(optimizer, x, closure, 12)
    inverse = np.diag(1.0 / diagonal.numpy()) if preconditioned else np.eye(6)
    H = None
    for (before, g), (after, g_after) in itertools.pairwise(found):
        s, y = after - before, g_after - g
        if H is None:
            direction = -inverse @ g
            H = inverse * ((s @ y) / (y @ inverse @ y) if initial == "scaled" else 1.0)
        else:
            direction = -H @ g
        cosine = s @ direction / (np.linalg.norm(s) * np.linalg.norm(direction))
        assert cosine == pytest.approx(1.0, abs=1e-9)
        H = next_inverse_hessian(variant, H, s, y)
    np.testing.assert_allclose(optimizer.direction.inverse_hessian.numpy(), H, rtol=1e-6, atol=1e-9 * np.abs(H).max())


def test_bfgs_makes_the_iterates_of_a_plain_loop_with_exact_searches(exact):
    # On a quadratic the exact step is known in closed form.
    matrix = torch.diag(torch.logspace(0, 2, 8, dtype=torch.float64)) + 0.3
    start = np.linspace(-1.0, 2.0, 8)
    x, closure = closure_of(lambda t: 0.5 * t @ matrix @ t, start)
    optimizer = SelfScaledBroyden([x], "bfgs", exact())
    a, point, H = matrix.numpy(), start.copy(), np.eye(8)
    for k in range(6):
        g = a @ point
        d = -H @ g
        s = -(g @ d) / (d @ a @ d) * d
        if k == 0:
            H = np.eye(8) * (s @ a @ s) / (a @ s @ (a @ s))
        H = bfgs(H, s, a @ s)
        point = point + s
        optimizer.step(closure)
        np.testing.assert_allclose(x.detach().numpy(), point, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ends_after_n_steps_on_a_quadratic_with_exact_searches(variant, exact):
    matrix = torch.diag(torch.logspace(0, 3, 7, dtype=torch.float64))
    x, closure = closure_of(lambda t: 0.5 * t @ matrix @ t, torch.ones(7))
    optimizer = SelfScaledBroyden([x], variant, exact())
    losses = [optimizer.step(closure) for _ in range(8)]
    assert losses[-1] < 1e-14 * losses[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_converges_superlinearly(variant):
    x, closure = closure_of(chain, torch.linspace(-1.0, 1.5, 10))
    optimizer = SelfScaledBroyden([x], variant)
    optimizer.minimize(closure, 60)
    norms = [r.gradient_norm for r in optimizer.history if r.gradient_norm > 1e-9]
    window = 8
    early = (norms[window] / norms[0]) ** (1 / window)
    late = (norms[-1] / norms[-1 - window // 2]) ** (2 / window)
    assert norms[-1] < 1e-5
    assert late < 0.5 * early


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("search", [HagerZhang(), HagerZhang(sigma=0.1)])
def test_rosenbrock_is_solved(variant, search):
    x, closure = closure_of(rosenbrock, [-1.2, 1.0] * 5)
    optimizer = SelfScaledBroyden([x], variant, search, target_loss=1e-18)
    optimizer.minimize(closure, 400)
    torch.testing.assert_close(x.detach(), torch.ones_like(x))


def test_no_search_is_in_vain_where_the_scales_differ_by_a_million():
    """Brown's badly scaled function (More, Garbow and Hillstrom, 1981, 4)."""

    def brown(x):
        return (x[0] - 1e6).square() + (x[1] - 2e-6).square() + (x[0] * x[1] - 2.0).square()

    x, closure = closure_of(brown, [1.0, 1.0])
    optimizer = SelfScaledBroyden([x])
    optimizer.minimize(closure, 200)
    assert optimizer.history[-1].loss <= 1e-12
    assert sum(r.gradients for r in optimizer.history) <= 600


def accepted(length, minimum):
    """A step along a parabola with its minimum at ``minimum``."""
    none = [torch.zeros(1)]
    return Step(length, none, none, none, 0.0, -1.0, -1.0, length / minimum - 1.0, math.nan)


@pytest.mark.parametrize(("minimum", "limit"), [(0.3, 0.3), (1.0, 1.0), (2.5, 1.0)])
def test_the_first_step_goes_to_where_lines_have_their_minimum(minimum, limit):
    known = 1.0
    for _ in range(60):
        known = next_first_step(known, accepted(0.5 * known, minimum))
    assert known == pytest.approx(limit, rel=1e-4)


def test_a_line_that_bends_down_lengthens_the_first_step_and_never_past_one():
    none = [torch.zeros(1)]
    step = Step(0.2, none, none, none, 0.0, -1.0, -1.0, -1.5, math.nan)
    assert next_first_step(0.2, step) == pytest.approx(0.2 * 4.0**0.2)
    assert next_first_step(1.0, accepted(1.0, 50.0)) == 1.0


def test_most_searches_on_a_network_end_at_their_first_step():
    model, f = regression(width=8)
    optimizer = SelfScaledBroyden(model.parameters())
    optimizer.minimize(f, 300)
    assert sum(r.gradients for r in optimizer.history) < 1.5 * 300


def test_needs_no_more_evaluations_than_scipys_bfgs():
    from scipy import optimize

    start = np.tile([-1.2, 1.0], 5)
    peer = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="BFGS", options={"gtol": 1e-7})
    x, closure = closure_of(rosenbrock, start)
    optimizer = SelfScaledBroyden([x], "bfgs", target_loss=float(peer.fun))
    optimizer.minimize(closure, 400)
    assert optimizer.stop_reason.name == "TARGET"
    assert sum(r.gradients for r in optimizer.history) <= 1.2 * peer.njev


def test_ahead_of_bfgs_on_a_network():
    losses = {}
    for variant in ("bfgs", "ssbroyden"):
        model, f = regression(width=8)
        SelfScaledBroyden(model.parameters(), variant).minimize(f, 300)
        losses[variant] = f.loss()
    assert losses["ssbroyden"] < 0.1 * losses["bfgs"]


def test_float32_keeps_going_downhill():
    model, f = regression(torch.float32, width=8)
    optimizer = SelfScaledBroyden(model.parameters())
    optimizer.minimize(f, 120)
    assert f.loss() < 1e-6
    assert optimizer.direction.inverse_hessian.dtype == torch.float32


def test_parameters_of_any_layout_and_groups_are_one_matrix():
    a = nn.Parameter(torch.randn(4, 3, dtype=torch.float64).T)
    b = nn.Parameter(torch.randn(2, dtype=torch.float64))
    frozen = nn.Parameter(torch.ones(5, dtype=torch.float64), requires_grad=False)

    def closure():
        loss = (
            (a @ torch.arange(4.0, dtype=torch.float64) - 1.0).square().sum() + (a.sum() - b).square().sum()
        ) + a.square().sum()
        loss.backward()
        return loss

    assert not a.is_contiguous()
    optimizer = SelfScaledBroyden([{"params": [a, frozen]}, {"params": [b]}])
    optimizer.minimize(closure, 60)
    assert float(torch.cat([a.grad.reshape(-1), b.grad]).norm()) < 1e-6
    assert optimizer.state[a]["rows"].shape == (12, 14)
    assert optimizer.state[b]["rows"].shape == (2, 14)
    assert optimizer.state[a]["rows"].untyped_storage().data_ptr() == optimizer.state[b]["rows"].untyped_storage().data_ptr()
    assert frozen not in optimizer.state


@pytest.mark.parametrize("at", [1, 2, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_reload_continues_bit_for_bit(at, dtype):
    model, f = regression(dtype, width=8)
    optimizer = SelfScaledBroyden(model.parameters())
    for _ in range(at):
        optimizer.step(f)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = [optimizer.step(f) for _ in range(10)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin, g = regression(dtype, width=8)
    twin.load_state_dict(saved["model"])
    fresh = SelfScaledBroyden(twin.parameters())
    fresh.load_state_dict(saved["optimizer"])
    assert [fresh.step(g) for _ in range(10)] == expected
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.equal(optimizer.direction.inverse_hessian, fresh.direction.inverse_hessian)


def test_a_loaded_matrix_is_the_optimizers_own():
    model, f = regression(width=8)
    optimizer = SelfScaledBroyden(model.parameters())
    optimizer.minimize(f, 5)
    twin = copy.deepcopy(model)
    fresh = SelfScaledBroyden(twin.parameters())
    fresh.load_state_dict(optimizer.state_dict())
    before = fresh.direction.inverse_hessian
    optimizer.minimize(f, 3)
    torch.testing.assert_close(fresh.direction.inverse_hessian, before, rtol=0, atol=0)


def test_a_changed_function_keeps_the_matrix():
    model, f = regression(width=8)
    optimizer = SelfScaledBroyden(model.parameters())
    optimizer.minimize(f, 40)
    before = optimizer.direction.inverse_hessian
    optimizer.renew()
    optimizer.step(f)
    record = optimizer.history[-1]
    assert record.restart == ""
    assert "tau" in record.extra  # a direction of the kept matrix
    assert float((optimizer.direction.inverse_hessian - before).norm() / before.norm()) < 1.0


def test_without_a_step_the_matrix_is_forgotten_once_and_then_it_stops():
    x, closure = closure_of(lambda t: (t - 1.0).abs().sum(), torch.zeros(3))
    optimizer = SelfScaledBroyden([x])
    optimizer.minimize(closure, 100)
    assert optimizer.stop_reason is not None
    assert torch.isfinite(x).all()
    direction = optimizer.direction
    optimizer.memory.scalars["updates"] = 3
    assert direction.reject(None, None)
    assert not direction.reject(None, None)


def test_pairs_without_positive_curvature_are_skipped():
    x, closure = closure_of(lambda t: -t.square().sum() + 0.01 * t.pow(4).sum(), [1.0, 0.5])
    optimizer = SelfScaledBroyden([x])
    optimizer.minimize(closure, 60)
    assert float(x.grad.norm()) < 1e-6
    assert float(x.detach().abs().min()) == pytest.approx(50.0**0.5)
    assert float(torch.linalg.eigvalsh(optimizer.direction.inverse_hessian)[0]) > 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "dfp"}, "variant must be one of ssbroyden, ssbfgs, bfgs, got 'dfp'"),
        ({"initial": "unit"}, "initial must be one of scaled, identity"),
        ({"max_parameters": 0}, "max_parameters must be positive"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SelfScaledBroydenDirection(**options)


def test_parameters_that_do_not_fit_are_refused_at_the_door():
    with pytest.raises(ValueError, match=r"at most 6000, got 6001: use LBFGS"):
        SelfScaledBroyden([nn.Parameter(torch.zeros(6001))])
    with pytest.raises(ValueError, match="of one dtype: use LBFGS"):
        SelfScaledBroyden([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))])
    frozen = nn.Parameter(torch.zeros(7000), requires_grad=False)
    assert SelfScaledBroyden([frozen, nn.Parameter(torch.zeros(3))]).stop_reason is None


def test_sharded_parameters_are_refused(monkeypatch):
    monkeypatch.setattr(vectors, "shard_groups", lambda tensors: [object()])
    with pytest.raises(UnsupportedError, match="sharded parameters: use LBFGS"):
        SelfScaledBroyden([nn.Parameter(torch.zeros(3))])


def test_the_preconditioner_is_left_alone():
    """Packed from a single parameter it is the preconditioner's own tensor."""
    x, closure = closure_of(chain, [1.0, 2.0, -1.0])
    given = torch.full((3,), 2.0, dtype=torch.float64)
    optimizer = SelfScaledBroyden([x], preconditioner=Inverse([given]))
    for _ in range(3):
        optimizer.step(closure)
    assert given.tolist() == [2.0] * 3
    assert optimizer.state[x]["inverse_diagonal"].tolist() == [2.0] * 3
