from __future__ import annotations

import numpy as np
import pytest
import torch

from homestretch import (
    LBFGS,
    AtEpoch,
    GaussNewtonCG,
    LevenbergMarquardt,
    Never,
    NoResort,
    SelfScaledBroyden,
    StopReason,
    TwoPhase,
)
from homestretch.directions.base import Proposal
from homestretch.history import EpochRecord
from homestretch.integrations.deepxde import HomeStretch, deepxde, least_squares


@pytest.fixture(autouse=True)
def _float64():
    deepxde.config.set_default_float("float64")
    yield
    deepxde.config.set_default_float("float32")


def equation(x, u):
    return deepxde.grad.hessian(u, x) + np.pi**2 * torch.sin(np.pi * x)


@pytest.fixture
def model():
    """u'' = -pi^2 sin(pi x) on [-1, 1], u = 0 at both ends; the solution is sin(pi x)."""
    deepxde.config.set_random_seed(0)
    line = deepxde.geometry.Interval(-1, 1)
    border = deepxde.icbc.DirichletBC(line, lambda x: 0.0, lambda _, on_boundary: on_boundary)
    data = deepxde.data.PDE(line, equation, border, num_domain=64, num_boundary=2)
    return deepxde.Model(data, deepxde.nn.FNN([1, 10, 1], "tanh", "Glorot uniform"))


def compiled(model, optimizer, **options):
    model.compile(optimizer, verbose=0, **options)
    return model


def train(model, callbacks, iterations=60):
    model.train(iterations=iterations, display_every=10**6, callbacks=callbacks, verbose=0)
    return float(np.sum(model.train_state.loss_train))


@pytest.mark.parametrize("weights", [None, [1.0, 10.0]])
def test_the_residuals_make_up_the_training_loss_and_its_gradient(model, weights):
    compiled(model, LBFGS(model.net.parameters()), loss_weights=weights)
    train(model, [], iterations=1)
    objective = least_squares(model)
    losses = model.outputs_losses_train(model.train_state.X_train, None, None)[1]
    expected = torch.autograd.grad(losses.sum(), objective.parameters, allow_unused=True, materialize_grads=True)
    assert float(objective()) == pytest.approx(float(losses.detach().sum()), rel=1e-12)
    for p, g in zip(objective.parameters, expected, strict=True):
        torch.testing.assert_close(p.grad if p.grad is not None else torch.zeros_like(p), g, rtol=1e-9, atol=1e-12)
    assert objective.loss() == pytest.approx(float(losses.detach().sum()), rel=1e-12)


@pytest.mark.parametrize(("method", "iterations"), [(SelfScaledBroyden, 250), (GaussNewtonCG, 20), (LevenbergMarquardt, 50)])
def test_methods_solve_the_problem(model, method, iterations):
    train(compiled(model, method(model.net.parameters())), [HomeStretch()], iterations)
    points = np.linspace(-1, 1, 50)[:, None]
    assert np.abs(model.predict(points) - np.sin(np.pi * points)).max() < 2e-2


def test_training_ends_with_a_reason_and_gives_the_step_back(model, capsys):
    compiled(model, SelfScaledBroyden(model.net.parameters(), budget=20))
    own, callback = model.train_step, HomeStretch()
    train(model, [callback], iterations=1000)
    assert model.train_state.iteration < 1000
    assert "budget" in callback.stop
    assert callback.stop in capsys.readouterr().out
    state = model.train_state  # at the end, too, and not as it was when DeepXDE last looked, before the first step
    assert state.best_step == state.step == model.losshistory.steps[-1]
    assert float(np.sum(state.loss_train)) == pytest.approx(loss_now(model))
    assert model.train_step is own


def test_drawn_points_are_noticed(model):
    optimizer = LBFGS(model.net.parameters())
    compiled(model, optimizer)
    train(model, [HomeStretch(), deepxde.callbacks.PDEPointResampler(period=5)], iterations=12)
    restarts = [record.restart for record in optimizer.history]
    assert len(restarts) == 12
    assert optimizer.scalars["loss"] == pytest.approx(float(np.sum(model.train_state.loss_train)), rel=1e-9)


def loss_now(model):
    """At the points of the next training, by DeepXDE itself."""
    state = model.train_state
    state.set_data_train(*model.data.train_next_batch(None))
    losses = model.outputs_losses_train(state.X_train, state.y_train, state.train_aux_vars)[1]
    return float(losses.detach().sum())


@pytest.mark.parametrize("residuals", [True, False])
@pytest.mark.parametrize("change", ["points", "weights"])
def test_another_training_evaluates_its_point_again(model, residuals, change):
    optimizer = SelfScaledBroyden(model.net.parameters())
    train(compiled(model, optimizer), [HomeStretch(residuals)], iterations=20)
    if change == "points":
        model.data.add_anchors(np.full((100, 1), 0.9))
    else:
        compiled(model, optimizer, loss_weights=[1.0, 100.0])
    expected = loss_now(model)
    train(model, [HomeStretch(residuals)], iterations=1)
    assert optimizer.start_loss == pytest.approx(expected, rel=1e-9)
    assert optimizer.history[-1].loss <= expected


def test_two_phases(model):
    parameters = list(model.net.parameters())
    first = torch.optim.Adam(parameters, lr=1e-2)
    optimizer = TwoPhase(parameters, first=first, second=SelfScaledBroyden, rule=AtEpoch(2), resort=NoResort())
    loss = train(compiled(model, optimizer), [HomeStretch(epoch=10)], iterations=80)
    before = optimizer.second.history[0].loss
    assert (optimizer.phase, optimizer.swap_epoch) == ("second", 2)
    assert len(optimizer.second.history) == 60
    costs = [record.gradient_equivalents for record in optimizer.history.of(EpochRecord)]
    assert 10.0 <= costs[0] < 11.0  # and the forward pass by which the residuals were checked
    assert 80.0 < costs[-1] < 250.0
    assert loss < 0.1 * before


@pytest.mark.parametrize("epoch", [5, 20])
def test_iterations_are_passes_for_the_rule(model, epoch):
    """However often it is asked; they are the plan of a TwoPhase without a budget."""
    seen = []

    class Note(Never):
        def observe(self, observation):
            seen.append((observation.step, observation.epoch_steps, round(observation.cost)))
            return super().observe(observation)

    parameters = list(model.net.parameters())
    optimizer = TwoPhase(parameters, first=torch.optim.Adam(parameters), second=LBFGS, rule=Note())
    compiled(model, optimizer)
    train(model, [HomeStretch(epoch=epoch, iterations=40)], iterations=40)
    assert seen == [(n, 1, n) for n in range(epoch, 41, epoch)]
    assert optimizer.budget == 40.0
    train(model, [HomeStretch(epoch=epoch, iterations=40)], iterations=1)
    assert optimizer.budget == 80.0


@pytest.fixture
def inverse():
    """u'' = -c sin(pi x) with c unknown and u known at some points: c is pi^2."""
    deepxde.config.set_random_seed(0)
    c = deepxde.Variable(3.0, dtype=torch.float64)
    line = deepxde.geometry.Interval(-1, 1)
    known = np.linspace(-1, 1, 21)[:, None]
    seen = deepxde.icbc.PointSetBC(known, np.sin(np.pi * known))
    data = deepxde.data.PDE(line, lambda x, u: deepxde.grad.hessian(u, x) + c * torch.sin(np.pi * x), seen, 64, 2)
    return deepxde.Model(data, deepxde.nn.FNN([1, 10, 1], "tanh", "Glorot uniform")), c


def test_unknown_parameters_of_the_equation_are_fitted_too(inverse):
    model, c = inverse
    optimizer = LevenbergMarquardt([*model.net.parameters(), c])
    train(compiled(model, optimizer, external_trainable_variables=[c]), [HomeStretch()], 60)
    assert float(c.detach()) == pytest.approx(np.pi**2, rel=1e-2)


def test_unknowns_that_the_optimizer_lacks_are_refused(inverse):
    model, c = inverse
    compiled(model, LBFGS(model.net.parameters()), external_trainable_variables=[c])
    with pytest.raises(ValueError, match=r"external_trainable_variables\[0\] = 3\.0 is not among the optimizer's parameters"):
        train(model, [HomeStretch()])


@pytest.mark.parametrize(("precision", "said"), [("float32", True), ("float64", False)])
def test_a_stop_at_float32s_rounding_says_how_to_get_float64(model, precision, said):
    deepxde.config.set_default_float(precision)
    optimizer, callback = LBFGS(model.net.parameters(), rounding=1.0), HomeStretch(residuals=False)
    optimizer.direction.propose = lambda point: Proposal([g.clone() for g in point.gradient], 1.0)  # uphill: nothing is found
    train(compiled(model, optimizer), [callback], iterations=5)
    assert StopReason.NO_DECREASE.value in callback.stop
    assert ('deepxde.config.set_default_float("float64")' in callback.stop) is said


def test_another_loss_goes_on_by_its_closure(model):
    optimizer = LBFGS(model.net.parameters())
    compiled(model, optimizer, loss="MAE")
    train(model, [HomeStretch()], iterations=3)
    assert optimizer.history[-1].loss == pytest.approx(float(np.sum(model.train_state.loss_train)), rel=1e-9)
    with pytest.raises(ValueError, match="residuals cannot stand for its loss: their weighted mean squares are"):
        train(model, [HomeStretch(residuals=True)])


def test_closures_give_the_same_iterations_as_residuals(model):
    start = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    found = []
    for residuals in (False, True):
        model.net.load_state_dict(start)
        optimizer = LBFGS(model.net.parameters())
        compiled(model, optimizer)
        train(model, [HomeStretch(residuals=residuals)], iterations=3)
        found.append([record.loss for record in optimizer.history])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_wrong_use_is_refused(model):
    compiled(model, "adam", lr=1e-3)
    with pytest.raises(ValueError, match="not with 'adam'"):
        train(model, [HomeStretch()])
    compiled(model, LBFGS(model.net.parameters()))
    with pytest.raises(ValueError, match="leave out batch_size=8"):
        model.train(iterations=1, batch_size=8, callbacks=[HomeStretch()], verbose=0)


@pytest.mark.parametrize("name", ["epoch", "iterations"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_numbers_of_iterations_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more, got {value}"):
        HomeStretch(**{name: value})
