from __future__ import annotations

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from homestretch import LBFGS, NewtonCG
from homestretch.line import SearchResult, SearchStatus
from homestretch.objective import ClosureFunction, Objective
from homestretch.objective.base import GaussNewtonProducts, HessianProducts
from homestretch.objective.penalty import Penalized, coupled_decays, decoupled_decays

DECAY = 0.1
COUPLED = {
    "SGD": lambda p, decay: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=decay),
    "Adam": lambda p, decay: optim.Adam(p, lr=0.05, weight_decay=decay),
    "NAdam": lambda p, decay: optim.NAdam(p, lr=0.05, weight_decay=decay),
    "RAdam": lambda p, decay: optim.RAdam(p, lr=0.05, weight_decay=decay),
    "Adamax": lambda p, decay: optim.Adamax(p, lr=0.05, weight_decay=decay),
    "Adagrad": lambda p, decay: optim.Adagrad(p, lr=0.05, weight_decay=decay),
    "Adadelta": lambda p, decay: optim.Adadelta(p, lr=0.05, weight_decay=decay),
    "RMSprop": lambda p, decay: optim.RMSprop(p, lr=0.05, weight_decay=decay),
    "ASGD": lambda p, decay: optim.ASGD(p, lr=0.05, lambd=0.0, weight_decay=decay),
    "ASGD's lambd": lambda p, decay: optim.ASGD(p, lr=0.05, lambd=decay, alpha=0.0),
    "schedule-free SGD": lambda p, decay: schedulefree.SGDScheduleFree(p, lr=0.05, weight_decay=decay),
}
DECOUPLED = {
    "AdamW": lambda p, decay: optim.AdamW(p, lr=0.05, weight_decay=decay),
    "NAdam": lambda p, decay: optim.NAdam(p, lr=0.05, weight_decay=decay, decoupled_weight_decay=True),
    "RAdam": lambda p, decay: optim.RAdam(p, lr=0.05, weight_decay=decay, decoupled_weight_decay=True),
    "Adafactor": lambda p, decay: optim.Adafactor(p, lr=0.05, weight_decay=decay),
    "Muon": lambda p, decay: optim.Muon(p, lr=0.05, weight_decay=decay),
    "SOAP": lambda p, decay: pytorch_optimizer.SOAP(p, lr=0.05, weight_decay=decay),
    "AdaBelief": lambda p, decay: pytorch_optimizer.AdaBelief(p, lr=0.05, weight_decay=decay, weight_decouple=True),
    "schedule-free AdamW": lambda p, decay: schedulefree.AdamWScheduleFree(p, lr=0.05, weight_decay=decay),
    "schedule-free RAdam": lambda p, decay: schedulefree.RAdamScheduleFree(p, lr=0.05, weight_decay=decay),
}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()


def path(make, decay, penalized, steps=6):
    """Where the optimizer goes on the loss, with the penalty in the optimizer or in the function."""
    model = network()
    generator = torch.Generator().manual_seed(2)
    data = tuple(torch.randn(20, n, generator=generator, dtype=torch.float64) for n in (3, 2))
    function = Objective(model, mse_loss, data)
    if penalized:
        function = Penalized(function, list(model.parameters()), [decay] * 2)
    optimizer = make(list(model.parameters()), 0.0 if penalized else decay)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for _ in range(steps):
        optimizer.step(lambda: function())
    return torch.cat([p.detach().flatten() for p in model.parameters()]), optimizer


@pytest.mark.parametrize("name", COUPLED)
def test_an_optimizer_with_coupled_decay_minimises_the_penalized_function(name):
    inside, optimizer = path(COUPLED[name], DECAY, penalized=False)
    outside, _ = path(COUPLED[name], DECAY, penalized=True)
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-12)
    parameters, decays = coupled_decays(optimizer)
    assert [id(p) for p in parameters] == [id(p) for p in optimizer.param_groups[0]["params"]]
    assert decays == [DECAY] * 2
    assert decoupled_decays(optimizer) == ([], [])


@pytest.mark.parametrize("name", DECOUPLED)
def test_an_optimizer_with_decoupled_decay_does_not(name):
    inside, optimizer = path(DECOUPLED[name], DECAY, penalized=False)
    outside, _ = path(DECOUPLED[name], DECAY, penalized=True)
    assert float((inside - outside).abs().max()) > 1e-4
    assert coupled_decays(optimizer) == ([], [])
    assert decoupled_decays(optimizer)[1] == [DECAY] * 2


def test_groups_have_their_own_decay_and_frozen_parameters_none():
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    c.requires_grad_(False)
    optimizer = optim.SGD([{"params": [a], "weight_decay": 0.0}, {"params": [b, c], "weight_decay": 0.3}], lr=0.1)
    parameters, decays = coupled_decays(optimizer)
    assert [id(p) for p in parameters] == [id(b)]
    assert decays == [0.3]


def penalized_quadratic():
    a, b = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64)), nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def closure():
        loss = (a**2).sum() * b
        loss.backward()
        return loss

    return a, b, Penalized(ClosureFunction(closure, [a, b]), [a], [0.5])


def test_loss_and_gradient_of_a_penalty_by_hand():
    a, b, function = penalized_quadratic()
    assert float(function()) == 15.0 + 0.25 * 5.0
    torch.testing.assert_close(a.grad, 6.0 * a.detach() + 0.5 * a.detach())
    assert float(b.grad) == 5.0
    assert function.loss() == 15.0 + 0.25 * 5.0


def test_a_search_knows_whether_the_loss_alone_leaves_the_gradient():
    objective = Objective(network(), mse_loss, (torch.zeros(4, 3, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)))
    assert Penalized(objective, objective.parameters, [0.1] * 2).cheap_loss
    assert not penalized_quadratic()[2].cheap_loss


def test_cost_and_version_are_those_of_the_function_inside():
    _, _, function = penalized_quadratic()
    function()
    assert function.meter.gradient_equivalents == 1.0
    function.function.version = 7
    assert function.version == 7


@pytest.mark.parametrize("product", ["hessian_product", "gauss_newton_product"])
def test_products_add_the_decay_times_the_vector(product):
    model = network()
    data = (torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64))
    objective = Objective(model, mse_loss, data)
    decayed = [list(model.parameters())[1]]
    vector = [torch.randn_like(p) for p in model.parameters()]
    plain = getattr(objective, product)(vector)
    found = getattr(Penalized(objective, decayed, [0.7]), product)(vector)
    torch.testing.assert_close(found[0], plain[0])
    torch.testing.assert_close(found[1], plain[1] + 0.7 * vector[1])


def looks_further(line):
    """A search that looks at the loss beyond the step it takes."""
    loss, slope = line.loss_and_slope(1e-2)
    line.loss(2e-2)
    return SearchResult(1e-2, loss, slope, SearchStatus.CONVERGED)


def test_the_gradient_of_an_accepted_point_contains_the_penalty_of_a_closure():
    """The loss of a closure overwrites its gradient: taken for a forward pass, it would leave that of another point."""
    p = nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64))

    def closure():
        loss = 0.5 * (p**2).sum()
        loss.backward()
        return loss

    LBFGS([p], search=looks_further).step(Penalized(ClosureFunction(closure, [p]), [p], [0.5]))
    torch.testing.assert_close(p.grad, 1.5 * p.detach(), rtol=0, atol=1e-15)


def test_there_are_no_products_where_the_function_inside_has_none():
    p = nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64))

    def closure():
        loss = (p**4).sum()
        loss.backward()
        return loss

    function = Penalized(ClosureFunction(closure, [p]), [p], [0.5])
    assert not isinstance(function, (HessianProducts, GaussNewtonProducts))
    optimizer = NewtonCG([p])
    optimizer.minimize(function, 20)
    assert float(p.detach().abs().max()) < 1e-3
