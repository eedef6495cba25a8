from __future__ import annotations

import pytest
import schedulefree
import torch
from torch import nn, optim

from homestretch.two_phase.averages import (
    averaged_weights,
    go_on_from_here,
    keeps_averages,
    set_points_aside,
    use_averaged_weights,
)

AVERAGING = {
    "schedule-free AdamW": lambda p: schedulefree.AdamWScheduleFree(p, lr=0.1),
    "schedule-free SGD": lambda p: schedulefree.SGDScheduleFree(p, lr=0.1),
    "schedule-free RAdam": lambda p: schedulefree.RAdamScheduleFree(p, lr=0.1),
    "ASGD": lambda p: optim.ASGD(p, lr=0.1, t0=1.0, lambd=0.0),
}


def trained(make, steps=8):
    p = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = make([p])
    if hasattr(optimizer, "train"):
        optimizer.train()
    for _ in range(steps):
        p.grad = p.detach() * torch.tensor([1.0, 3.0])
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("name", AVERAGING)
def test_averages_are_used_and_the_point_comes_back_bit_for_bit(name):
    p, optimizer = trained(AVERAGING[name])
    before = p.detach().clone()
    with averaged_weights(optimizer):
        inside = p.detach().clone()
    assert not torch.equal(inside, before)
    assert torch.equal(p, before)
    assert keeps_averages(optimizer)
    assert use_averaged_weights(optimizer)
    torch.testing.assert_close(p.detach(), inside)


def test_the_average_of_asgd_is_the_mean_of_its_points():
    p = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = optim.ASGD([p], lr=0.1, t0=2.0, lambd=0.0)
    points = []
    for _ in range(7):
        p.grad = p.detach().clone()
        optimizer.step()
        points.append(p.item())
    use_averaged_weights(optimizer)
    # Its weight in step t is 1 / max(1, t - 1 - t0): the average begins with the fourth point.
    assert p.item() == pytest.approx(sum(points[3:]) / 4, rel=1e-7)  # its weights are float32


@pytest.mark.parametrize("name", AVERAGING)
def test_going_on_starts_where_the_parameters_are(name):
    p, optimizer = trained(AVERAGING[name])
    use_averaged_weights(optimizer)
    with torch.no_grad():
        p.fill_(0.25)  # where the convex phase ended
    go_on_from_here(optimizer)
    torch.testing.assert_close(p.detach(), torch.full_like(p, 0.25))
    with averaged_weights(optimizer):
        torch.testing.assert_close(p.detach(), torch.full_like(p, 0.25))
    p.grad = p.detach().clone()
    optimizer.step()
    assert float((p.detach() - 0.25).abs().max()) < 0.2


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_others_have_no_averages(make):
    p, optimizer = trained(lambda q: make(q, lr=0.1))
    before = p.detach().clone()
    assert not keeps_averages(optimizer)
    assert not use_averaged_weights(optimizer)
    with averaged_weights(optimizer):
        assert torch.equal(p, before)
    go_on_from_here(optimizer)
    assert torch.equal(p, before)


def test_asgd_has_nothing_to_hand_over_before_it_averages():
    _, optimizer = trained(lambda p: optim.ASGD(p, lr=0.1))
    assert not use_averaged_weights(optimizer)


@pytest.mark.parametrize("name", [name for name in AVERAGING if name.startswith("schedule-free")])
def test_train_and_eval_change_nothing_while_the_points_are_aside(name):
    p, optimizer = trained(AVERAGING[name])
    use_averaged_weights(optimizer)
    set_points_aside(optimizer)
    with torch.no_grad():
        p.fill_(0.25)
    for switch in (optimizer.train, optimizer.eval, optimizer.train):  # in whatever mode the convex phase ends
        switch()
        assert torch.equal(p, torch.full_like(p, 0.25))
    go_on_from_here(optimizer)
    with averaged_weights(optimizer):
        torch.testing.assert_close(p.detach(), torch.full_like(p, 0.25))
    moments = {k: v.clone() for k, v in optimizer.state[p].items() if k == "exp_avg_sq"}
    p.grad = torch.zeros_like(p)
    optimizer.step()  # with its second moments, which a state that it finds incomplete would begin anew
    assert all(bool((optimizer.state[p][k] > 0.5 * v).all()) for k, v in moments.items())
