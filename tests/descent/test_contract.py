from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.nn.functional import mse_loss

from homestretch import LBFGS, ConjugateGradient, Diagonal, GaussNewtonCG, NewtonCG, Objective, SelfScaledBroyden, StrongWolfe
from homestretch.errors import UnsupportedError
from homestretch.packing import unpack
from homestretch.preconditioners import Inverse

METHODS = {"cg": ConjugateGradient, "lbfgs": lambda p: LBFGS(p, memory=4)}


def network(dtype=torch.float64) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)


def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(40, n, generator=generator, dtype=dtype) for n in (3, 2))


def parameters_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train(model, optimizer, steps, objective=None):
    objective = objective or Objective(model, mse_loss, data(next(model.parameters()).dtype))
    return [optimizer.step(objective) for _ in range(steps)]


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", [1, 3, 9])
def test_a_reloaded_run_goes_on_bit_for_bit(method, dtype, at):
    model = network(dtype)
    optimizer = METHODS[method](model.parameters())
    train(model, optimizer, at)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    left_alone = train(model, optimizer, 5)

    fresh = network(dtype)
    fresh.load_state_dict(saved["model"])
    reloaded = METHODS[method](fresh.parameters())
    reloaded.load_state_dict(saved["optimizer"])
    objective = Objective(fresh, mse_loss, data(dtype))
    assert train(fresh, reloaded, 5, objective) == left_alone
    assert torch.equal(parameters_of(model), parameters_of(fresh))
    assert objective.meter.gradients == sum(r.gradients for r in reloaded.history)  # nothing evaluated twice


@pytest.mark.parametrize("method", [*METHODS.values(), SelfScaledBroyden, GaussNewtonCG, NewtonCG])
def test_the_base_class_has_nothing_to_cast(method):
    """torch casts floating state to the parameters' dtype when it loads: all of ours has it, or is kept as numbers."""
    model = network(torch.float32)
    optimizer = method(model.parameters())
    optimizer.preconditioner = Diagonal([torch.rand_like(p) + 0.5 for p in model.parameters()])
    train(model, optimizer, 6)
    saved = optimizer.state_dict()
    assert all(t.dtype is torch.float32 for state in saved["state"].values() for t in state.values() if t.is_floating_point())
    numbers = unpack(saved["param_groups"][0]["descent"])
    assert not any(isinstance(value, torch.Tensor) for value in numbers.values())
    fresh = method(network(torch.float32).parameters())
    fresh.load_state_dict(through_a_file(saved))
    assert fresh.param_groups[0]["descent"] == numbers
    for p, q in zip(model.parameters(), fresh.memory.parameters, strict=True):
        assert fresh.state[q].keys() == optimizer.state[p].keys()
        assert all(torch.equal(t, optimizer.state[p][name]) for name, t in fresh.state[q].items())


@pytest.mark.parametrize("method", METHODS)
def test_a_state_loaded_at_another_point_is_noticed(method):
    model = network()
    optimizer = METHODS[method](model.parameters())
    train(model, optimizer, 3)
    state = optimizer.state_dict()
    other = network()
    reloaded = METHODS[method](other.parameters())
    reloaded.load_state_dict(state)
    objective = Objective(other, mse_loss, data())
    start = objective.loss()
    assert reloaded.step(objective) < start
    assert objective.loss() == pytest.approx(float(objective()), abs=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_distributed_checkpoint_round_trip(method):
    model = network()
    optimizer = METHODS[method](model.parameters())
    train(model, optimizer, 4)
    saved = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    saved = through_a_file(saved)
    left_alone = train(model, optimizer, 4)

    fresh = network()
    fresh.load_state_dict(saved["model"])
    reloaded = METHODS[method](fresh.parameters())
    template = get_optimizer_state_dict(fresh, reloaded)  # calls step without a closure to make the state
    assert {k: set(v) for k, v in template["state"].items()} == {k: set(v) for k, v in saved["optimizer"]["state"].items()}
    set_optimizer_state_dict(fresh, reloaded, saved["optimizer"])
    assert train(fresh, reloaded, 4) == left_alone


@pytest.mark.parametrize("method", METHODS)
def test_groups_and_frozen_parameters(method):
    model = network()
    model[0].bias.requires_grad_(False)
    before = model[0].bias.clone()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
    grouped = train(model, METHODS[method](groups), 6)
    assert torch.equal(before, model[0].bias)
    model = network()
    model[0].bias.requires_grad_(False)
    assert grouped == train(model, METHODS[method](model.parameters()), 6)


def test_named_parameters_give_names_in_messages():
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = LBFGS(embedding.named_parameters())

    def closure():
        loss = embedding(torch.tensor([1, 2])).square().sum()
        loss.backward()
        return loss

    with pytest.raises(UnsupportedError, match=r"parameter weight .* sparse"):
        optimizer.step(closure)


def test_added_parameters_are_optimised():
    first, second = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = LBFGS([first])

    def closure():
        loss = (first**2).sum() + ((second - 3) ** 2).sum()
        loss.backward()
        return loss

    optimizer.minimize(closure, 5)
    optimizer.add_param_group({"params": [second]})
    optimizer.minimize(closure, 20)
    torch.testing.assert_close(second.detach(), torch.full((2,), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("zero", [True, False])
def test_closures_that_zero_gradients_and_closures_that_keep_them_agree(zero):
    model = network()
    inputs, targets = data()
    optimizer = ConjugateGradient(model.parameters())

    def closure():
        if zero:
            optimizer.zero_grad()
        loss = mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    losses = [optimizer.step(closure) for _ in range(8)]
    assert losses[-1] < losses[0]
    reference = network()
    gradient = torch.autograd.grad(mse_loss(model(inputs), targets), list(model.parameters()))
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradient, strict=True))
    del reference


def test_hooks_are_called():
    model = network()
    optimizer = LBFGS(model.parameters())
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    train(model, optimizer, 2)
    assert called == ["before", "after"] * 2


@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_gradient_scaler_is_refused_however_the_closure_is_passed(by_keyword):
    model = network(torch.float32)
    optimizer = LBFGS(model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    inputs, targets = data(torch.float32)

    def closure():
        loss = scaler.scale(mse_loss(model(inputs), targets))
        loss.backward()
        return loss

    closure()
    arguments = ((), {"closure": closure}) if by_keyword else ((closure,), {})
    with pytest.raises(RuntimeError, match=r"[Cc]losure|GradScaler"):
        scaler.step(optimizer, *arguments[0], **arguments[1])


def test_bf16_autocast_with_float32_parameters():
    model = network(torch.float32)
    inputs, targets = data(torch.float32)
    optimizer = LBFGS(model.parameters())

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    start = closure().item()
    assert optimizer.minimize(closure, 60) < 0.7 * start
    assert optimizer.scalars["rounding"] == pytest.approx(2e-3)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bfloat16, torch.float16])
def test_dtypes_that_cannot_work_are_refused_at_the_door(dtype):
    with pytest.raises(ValueError, match=r"view_as_real|autocast"):
        LBFGS([nn.Parameter(torch.zeros(2, dtype=dtype))])


def test_a_closure_without_a_loss_is_refused():
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="return loss"):
        LBFGS([p]).step(lambda: (p**2).sum().backward())


def test_nothing_to_optimise_is_refused():
    p = nn.Parameter(torch.ones(2), requires_grad=False)
    with pytest.raises(ValueError, match="nothing to optimise"):
        LBFGS([p]).step(lambda: p.sum())


def test_a_foreign_state_is_refused():
    model = network()
    adam = torch.optim.Adam(model.parameters())
    with pytest.raises(ValueError, match="not that of a homestretch Descent"):
        LBFGS(model.parameters()).load_state_dict(adam.state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_a_preconditioner_survives_a_reload(method):
    model = network()
    optimizer = METHODS[method](model.parameters())
    diagonal = [torch.rand_like(p) + 0.5 for p in model.parameters()]
    optimizer.preconditioner = Diagonal(diagonal)
    train(model, optimizer, 3)
    saved = through_a_file({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    left_alone = train(model, optimizer, 4)
    fresh = network()
    fresh.load_state_dict(saved["model"])
    reloaded = METHODS[method](fresh.parameters())
    reloaded.load_state_dict(saved["optimizer"])
    assert train(fresh, reloaded, 4) == left_alone


def test_a_loss_that_does_not_use_every_parameter():
    used, unused = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = LBFGS([used, unused])

    def closure():
        loss = ((used - 2) ** 2).sum()
        loss.backward()
        return loss

    optimizer.minimize(closure, 10)
    torch.testing.assert_close(used.detach(), torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.equal(unused, torch.ones(2, dtype=torch.float64))


def test_an_objective_over_other_parameters_is_refused():
    """They would have no gradient from it and never move."""
    model, unknown = network(), nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = LBFGS([*model.parameters(), unknown])
    objective = Objective(model, mse_loss, data())
    for _ in range(2):
        with pytest.raises(
            UnsupportedError, match=r"parameter 4 of shape \(\).*not one of the parameters of Objective \(1 of 5"
        ):
            optimizer.step(objective)


def test_a_closure_without_backward_is_refused():
    model = network()
    objective = Objective(model, mse_loss, data())
    with pytest.raises(UnsupportedError, match=r"must call loss.backward\(\)"):
        LBFGS(model.parameters()).step(lambda: torch.tensor(objective.loss()))


def test_other_trainable_parameters_of_the_same_number_are_noticed():
    model, inputs = network(), data()
    layers = model[0], model[2]
    for p in (*layers[0].parameters(), *layers[1].parameters()):
        p.requires_grad_(p in set(layers[0].parameters()))
    optimizer = LBFGS(model.parameters())
    train(model, optimizer, 3)
    for p in model.parameters():
        p.requires_grad_(not p.requires_grad)
    before = [p.detach().clone() for p in layers[1].parameters()]
    train(model, optimizer, 2, Objective(model, mse_loss, inputs))
    assert all(not torch.equal(p, b) for p, b in zip(layers[1].parameters(), before, strict=True))
    assert "other parameters are trainable now" in optimizer.history[3].changed


@pytest.mark.parametrize("method", METHODS)
def test_parameters_given_other_data_are_noticed(method):
    model = network()
    objective = Objective(model, mse_loss, data())
    optimizer = METHODS[method](model.parameters())
    train(model, optimizer, 3, objective)
    torch.nn.utils.vector_to_parameters(parameters_of(model) + 0.5, model.parameters())
    assert optimizer.evaluate(objective) == objective.loss()
    train(model, optimizer, 1, objective)
    assert "the parameters were changed between steps" in optimizer.history[-1].changed


@pytest.mark.parametrize("shapes", [[(6, 3)], [(6, 3), (6,), (2, 6), (1,)]])
def test_a_preconditioner_of_other_shapes_is_refused(shapes):
    model = network()
    optimizer = ConjugateGradient(model.parameters(), preconditioner=Diagonal([torch.ones(shape) for shape in shapes]))
    with pytest.raises(ValueError, match="preconditioner must have one tensor for each trainable parameter"):
        train(model, optimizer, 1)


@pytest.mark.parametrize("entry", [0.0, -1.0, math.nan, math.inf, 1e60])
def test_a_preconditioner_that_is_not_positive_and_finite_is_refused(entry):
    """With a zero the parameter never moved, with the others no step lowered the loss, which passed for the minimum."""
    p = nn.Parameter(torch.ones(2))
    optimizer = LBFGS([p], preconditioner=Inverse([torch.tensor([entry, 1.0], dtype=torch.float64)]))

    def closure():
        p.grad = None
        loss = (p - 3.0).square().sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="preconditioner must have positive finite entries in the parameters' dtype"):
        optimizer.step(closure)


def test_a_preconditioner_taken_over_late_starts_the_method_afresh():
    """Two steps after, the direction is that of the same method started at that point."""
    model, other = network(), network()
    adam = torch.optim.Adam(model.parameters())
    objective = Objective(model, mse_loss, data())
    objective()
    adam.step()
    late = LBFGS(model.parameters())
    train(model, late, 3, objective)
    assert "Adam" in late.adopt(adam)
    other.load_state_dict(model.state_dict())
    early = LBFGS(other.parameters(), preconditioner=Diagonal([1 / d for d in late.memory.get("inverse_diagonal")]))
    train(model, late, 2, objective)
    train(other, early, 2)
    torch.testing.assert_close(parameters_of(model), parameters_of(other), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("search", [StrongWolfe, 3])
def test_what_is_no_search_is_refused(search):
    with pytest.raises(TypeError, match="search must be a line search"):
        LBFGS(network().parameters(), search=search)


def adopted(model, objective, **options):
    adam = torch.optim.Adam(model.parameters())
    objective()
    adam.step()
    optimizer = LBFGS(model.parameters(), **options)
    optimizer.adopt(adam)
    return optimizer


def test_a_layer_that_is_frozen_leaves_the_others_their_preconditioner():
    model = network()
    objective = Objective(model, mse_loss, data())
    optimizer = adopted(model, objective)
    train(model, optimizer, 2, objective)
    before = [d.clone() for d in optimizer.memory.get("inverse_diagonal")]
    model[0].requires_grad_(False)
    train(model, optimizer, 1, Objective(model, mse_loss, data()))
    after = optimizer.memory.get("inverse_diagonal")
    assert len(after) == 2
    assert all(torch.equal(a, b) for a, b in zip(after, before[2:], strict=True))
    model[0].requires_grad_(True)
    train(model, optimizer, 1, objective)
    assert optimizer.memory.get("inverse_diagonal") is None
    assert "the preconditioner too" in optimizer.history[-1].changed


def test_a_budget_holds_though_parameters_are_frozen_and_freed():
    model = network()
    objective = Objective(model, mse_loss, data())
    optimizer = adopted(model, objective, budget=15.0)
    spent = objective.meter.gradient_equivalents
    for step in range(40):
        model[0].requires_grad_(step % 4 < 2)
        optimizer.step(objective)
        if optimizer.stop_reason is not None:
            break
    assert optimizer.stop_reason is not None
    assert objective.meter.gradient_equivalents - spent <= 16.5
    iterations = [r.iteration for r in optimizer.history]
    assert iterations == list(range(1, len(iterations) + 1))


def test_a_group_or_a_state_that_maximises_is_refused_by_what_minimises():
    """Both were taken, and went down where they were to go up; a climber's state was gone on with at the wrong sign."""
    x = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"maximize: the group has True, the optimizer False: make it with maximize=True"):
        LBFGS([{"params": [x], "maximize": True}])
    climbing = LBFGS([{"params": [x], "maximize": True}], maximize=True)
    climbing.allocate()
    with pytest.raises(ValueError, match=r"maximize: the state was saved with True, the optimizer False"):
        LBFGS([x]).load_state_dict(climbing.state_dict())


def test_the_state_of_another_method_is_refused_by_both_names():
    model = network()
    optimizer = LBFGS(model.parameters())
    train(model, optimizer, 2)
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="saved by the method lbfgs, and this is conjugate-gradient"):
        ConjugateGradient(network().parameters()).load_state_dict(through_a_file(state))
    old = through_a_file(state)
    numbers = unpack(old["param_groups"][0]["descent"])
    old["param_groups"][0]["descent"] = {n: v for n, v in numbers.items() if n != "direction"}  # as older versions wrote it
    again = LBFGS(network().parameters())
    again.load_state_dict(old)
    assert again.scalars["iteration"] == 2
