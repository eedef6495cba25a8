from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from homestretch import Diagonal, GaussNewtonCG, HagerZhang, LeastSquares, Objective, vectors
from homestretch.directions.base import Point
from homestretch.directions.gauss_newton_cg import GaussNewtonCGDirection
from homestretch.errors import UnsupportedError
from tests.directions.problems import regression


def classifier(seed=0, dtype=torch.float64, samples=60):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    x = torch.randn(samples, 4, dtype=dtype)
    return model, Objective(model, nn.functional.cross_entropy, (x, x[:, :3].argmax(1)), micro_batch=25)


def run(optimizer, f, iterations):
    return [optimizer.step(f) for _ in range(iterations)]


@pytest.mark.parametrize("make", [classifier, regression])
@pytest.mark.parametrize("search", [None, HagerZhang()])
def test_minimises_much_faster_than_its_start(make, search):
    model, f = make()
    before = f.loss()
    losses = run(GaussNewtonCG(model.parameters(), search), f, 20)
    assert losses[-1] < 1e-2 * before
    assert all(b <= a for a, b in itertools.pairwise(losses))


def test_first_step_solves_the_damped_system():
    model, f = regression()
    start = vectors.pack(vectors.locals_of(f.parameters))
    f()
    gradient = vectors.pack([p.grad for p in f.parameters])
    jacobian = f.jacobian()
    matrix = 2.0 * jacobian.T @ jacobian
    optimizer = GaussNewtonCG(model.parameters(), damping=1e-2, progress=0.0)
    loss = f.loss()
    optimizer.step(f)
    record = optimizer.history[0]
    damping = record.extra["damping"]
    expected = -torch.linalg.solve(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype), gradient)
    moved = vectors.pack(vectors.locals_of(f.parameters)) - start
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-8)
    # The gain ratio is that of the model without the damping.
    predicted = -float(gradient @ expected + 0.5 * expected @ matrix @ expected)
    assert record.extra["gain_ratio"] == pytest.approx((loss - record.loss) / predicted, rel=1e-4)


def test_the_record_says_how_products_are_made():
    model, f = classifier()
    optimizer = GaussNewtonCG(model.parameters())
    optimizer.minimize(f, 2)
    assert all(r.extra["gauss_newton: forward"] == 1.0 for r in optimizer.history)


def test_converges_superlinearly_where_the_residual_vanishes():
    """The damping falls by a third an iteration on top of Gauss-Newton's own rate, so each step gains more than the last."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    f = LeastSquares(lambda: torch.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]), [x], reduction="sum")
    optimizer = GaussNewtonCG([x], progress=0.0)
    optimizer.minimize(f, 60)
    losses = [r.loss for r in optimizer.history if r.loss > 1e-25]
    rates = [b / a for a, b in itertools.pairwise(losses)]
    assert losses[-1] < 1e-15
    assert max(rates[-3:]) < 0.05
    assert max(rates[-3:]) < 0.1 * max(rates[:5])


def test_first_damping_is_relative_to_the_curvature():
    model, f = regression()
    f()
    gradient = vectors.pack([p.grad for p in f.parameters])
    jacobian = f.jacobian()
    optimizer = GaussNewtonCG(model.parameters(), HagerZhang(), damping=0.3)
    optimizer.step(f)
    along = 2.0 * float((jacobian @ gradient).square().sum() / gradient.square().sum())
    assert optimizer.history[0].extra["damping"] == pytest.approx(0.3 * along)


@pytest.mark.parametrize(
    ("length", "decrease", "factor"), [(1.0, 0.9, 2 / 3), (1.0, 0.5, 1.0), (1.0, 0.1, 1.5), (0.5, 0.9, 2 / 3)]
)
def test_damping_follows_the_gain_at_the_length_taken(length, decrease, factor):
    model, f = regression()
    optimizer = GaussNewtonCG(model.parameters())
    optimizer.step(f)
    direction = optimizer.direction
    optimizer.scalars["damping"] = 1.0
    direction._bend = 1.0  # m(a) = -a + a^2 / 2, which predicts 1/2 at 1 and 3/8 at 1/2
    promised = length - 0.5 * length**2
    step = type(
        "Step", (), {"length": length, "slope_before": -1.0, "loss_before": 1.0, "loss_after": 1.0 - decrease * promised}
    )
    direction.accept(step, None)
    assert optimizer.scalars["damping"] == pytest.approx(factor)


def test_warm_start_saves_products():
    model, f = regression()
    optimizer = GaussNewtonCG(model.parameters())
    optimizer.step(f)
    point = Point(vectors.locals_of(f.parameters), [p.grad for p in f.parameters], f.loss(), None, f)
    optimizer.direction.reset()
    cold, warm = (optimizer.direction.propose(point).extra["inner_iterations"] for _ in range(2))
    assert warm < 0.7 * cold


def test_preconditioner_is_used():
    products = []
    scale = torch.logspace(0, 3, 12, dtype=torch.float64)
    for preconditioner in (None, Diagonal([2.0 * scale**2 / 12.0])):
        x = torch.ones(12, dtype=torch.float64, requires_grad=True)
        f = LeastSquares(lambda x=x: scale * (x - 3.0), [x])
        optimizer = GaussNewtonCG([x], preconditioner=preconditioner, damping=1e-12, progress=0.0)
        optimizer.step(f)
        products.append(optimizer.history[0].extra["inner_iterations"])
    assert products[1] < products[0] / 2


def test_curvature_of_a_subset_costs_less():
    costs = []
    for samples in (None, 6):
        model, f = classifier()
        optimizer = GaussNewtonCG(model.parameters(), curvature_samples=samples)
        before = f.loss()
        assert run(optimizer, f, 8)[-1] < before
        costs.append(f.meter.gauss_newton_products)
    assert costs[1] < 0.3 * costs[0]


def test_losses_that_are_not_convex_in_the_outputs_still_go_down():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(30, 3, dtype=torch.float64)
    target = nn.functional.one_hot(x.argmax(1), 3).double()
    f = Objective(model, lambda z, t: (z.softmax(1) - t).square().mean(), (x, target))
    optimizer = GaussNewtonCG(model.parameters(), damping=1e-8)
    before = f.loss()
    losses = run(optimizer, f, 15)
    assert losses[-1] < 0.5 * before
    assert any("negative" in r.restart or r.extra.get("negative_curvature") for r in optimizer.history)


def test_float32_keeps_a_floor_under_the_damping():
    model, f = regression(torch.float32)
    optimizer = GaussNewtonCG(model.parameters())
    losses = run(optimizer, f, 25)
    floor = torch.finfo(torch.float32).eps * optimizer.scalars["largest"]
    assert all(r.extra.get("damping", floor) >= 0.999 * floor for r in optimizer.history)
    assert losses[-1] < 1e-3 * losses[0]


def test_resumes_bit_for_bit():
    model, f = classifier()
    optimizer = GaussNewtonCG(model.parameters())
    run(optimizer, f, 3)
    twin, g = classifier()
    twin.load_state_dict(model.state_dict())
    resumed = GaussNewtonCG(twin.parameters())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    g.gauss_newton_product([torch.ones_like(p) for p in g.parameters])  # its way is chosen already, as the first one's is
    assert run(optimizer, f, 3) == run(resumed, g, 3)


def test_needs_products():
    p = torch.ones(1, requires_grad=True)

    def closure():
        loss = p.square().sum()
        loss.backward()
        return loss

    with pytest.raises(UnsupportedError, match="Objective"):
        GaussNewtonCG([p]).step(closure)
    model, f = regression()
    with pytest.raises(UnsupportedError, match="subsets"):
        GaussNewtonCG(model.parameters(), curvature_samples=5).step(f)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"damping": 0.0}, "damping"), ({"factor": 1.0}, "factor"), ({"decay": -0.1}, "decay"),
     ({"curvature_samples": 0}, "samples"), ({"max_products": 0}, "max_products"), ({"curvature_samples": 2.5}, "samples")],
)  # fmt: skip
def test_refuses_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        GaussNewtonCGDirection(**options)


def test_reset_forgets():
    model, f = regression()
    optimizer = GaussNewtonCG(model.parameters())
    optimizer.step(f)
    optimizer.direction.reset()
    assert optimizer.scalars["damping"] == 0.0
    assert not any(t.any() for t in optimizer.memory.get("solution"))


@pytest.mark.filterwarnings("ignore::homestretch.errors.PrecisionWarning")
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_in_float32_extreme_residuals_are_fitted_or_given_up(scale):
    torch.manual_seed(0)
    matrix, right = torch.randn(20, 5), torch.randn(20)
    exact = float((matrix @ torch.linalg.lstsq(matrix, right.unsqueeze(1)).solution.squeeze(1) - right).square().mean())
    x = torch.zeros(5, requires_grad=True)
    f = LeastSquares(lambda: (matrix @ x - right) * scale, [x])
    optimizer = GaussNewtonCG([x])
    optimizer.minimize(f, 60)
    assert f.loss() / scale**2 == pytest.approx(exact, rel=2e-2)


def test_products_of_a_part_of_the_samples_are_as_cheap_to_a_budget_as_they_are():
    """They were taken for products of all samples: the budget paid for a few of them, then for none, with most of it left."""
    made = []
    for options in ({}, {"budget": 20.0}):
        model, f = classifier()
        optimizer = GaussNewtonCG(model.parameters(), curvature_samples=f.samples // 10, **options)
        optimizer.step(f)
        assert f.meter.gradient_equivalents < 20.0
        made.append(optimizer.history[0].extra["inner_iterations"])
    assert made[0] == made[1] > 4.0
