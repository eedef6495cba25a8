from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import nn

from homestretch import LBFGS, ConjugateGradient, Diagonal, HagerZhang, SelfScaledBroyden, StopReason
from homestretch.directions.base import Memory, Point, Step
from homestretch.directions.lbfgs import LBFGSDirection
from tests.directions.problems import closure_of, rosenbrock


class Driven:
    """The direction without a loop: pairs and gradients are handed to it."""

    def __init__(self, size, inverse, unpacked, packed):
        self.inverse, self.unpacked, self.packed = inverse, unpacked, packed
        parameters = [nn.Parameter(t) for t in unpacked(np.zeros(10))]
        self.state, self.scalars = {p: {} for p in parameters}, {}
        self.memory = Memory(parameters, self.state, self.scalars)
        self.direction = LBFGSDirection(size)
        self.direction.bind(self.memory)

    def point(self, gradient):
        inverse = None if self.inverse is None else self.unpacked(self.inverse)
        return Point(self.unpacked(np.ones(10)), self.unpacked(gradient), 1.0, inverse, None)

    def propose(self, gradient):
        return self.packed(self.direction.propose(self.point(gradient)).vector)

    def accept(self, s, y, length=0.5):
        before = -0.5 * y
        step = Step(length, self.unpacked(s / length), self.unpacked(before), self.unpacked(before + y), 1.0, 0.5, -1.0, 0.0)
        self.direction.accept(step, self.point(before + y))


def two_loop(gradient, pairs, inverse):
    """Nocedal (1980), as in Nocedal and Wright (2006), algorithm 7.4."""
    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (y @ s))
        q = q - alphas[-1] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ (inverse * y)) * inverse * q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (y @ s))
    return -r


def random_pairs(count, seed=0, condition=100.0):
    """Steps and gradient differences of a function whose Hessian changes from step to step."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        basis, _ = np.linalg.qr(generator.normal(size=(10, 10)))
        s = generator.normal(size=10)
        yield s, basis @ (np.geomspace(1.0, condition, 10) * (basis.T @ s)), generator.normal(size=10)


@pytest.mark.parametrize("size", [1, 3, 5, 50])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_is_the_two_loop_recursion(size, preconditioned, unpacked, packed):
    inverse = np.exp(np.random.default_rng(3).normal(size=10)) if preconditioned else None
    driven, pairs = Driven(size, inverse, unpacked, packed), []
    for s, y, gradient in random_pairs(40):
        driven.accept(s, y)
        pairs = [*pairs, (s, y)][-size:]
        expected = two_loop(gradient, pairs, np.ones(10) if inverse is None else inverse)
        found = driven.propose(gradient)
        assert np.linalg.norm(found - expected) <= 1e-10 * np.linalg.norm(expected)


def test_a_reload_changes_no_bit(unpacked, packed):
    one, two = (Driven(4, None, unpacked, packed) for _ in range(2))
    drawn = list(random_pairs(12))
    for s, y, _ in drawn[:9]:
        one.accept(s, y)
    one.direction.flush()
    for p, q in zip(one.memory.parameters, two.memory.parameters, strict=True):
        two.state[q].update({name: t.clone() for name, t in one.state[p].items()})
    two.scalars.update(one.scalars)
    two.direction.bind(two.memory)
    for s, y, gradient in drawn[9:]:
        one.accept(s, y)
        two.accept(s, y)
        assert np.array_equal(one.propose(gradient), two.propose(gradient))


@pytest.mark.parametrize("curvature", [-1.0, 0.0, 1e-15])
def test_pairs_without_curvature_are_left_out(curvature, unpacked, packed):
    driven = Driven(5, None, unpacked, packed)
    s, y, gradient = next(random_pairs(1))
    driven.accept(s, y)
    before = driven.propose(gradient)
    across = y - (s @ y) / (s @ s) * s
    driven.accept(s, across + curvature * s)
    assert np.array_equal(driven.propose(gradient), before)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_units_of_the_loss_do_not_decide_what_is_left_out(scale, unpacked, packed):
    driven, reference = Driven(5, None, unpacked, packed), Driven(5, None, unpacked, packed)
    for s, y, _ in random_pairs(3, condition=1e12):
        driven.accept(s, scale * y)
        reference.accept(s, y)
    assert driven.direction._count == 3
    gradient = np.linspace(-1.0, 2.0, 10)
    np.testing.assert_allclose(driven.propose(scale * gradient), reference.propose(gradient), rtol=1e-6)


def test_without_pairs_it_is_the_preconditioned_steepest_descent(unpacked, packed):
    inverse = np.linspace(1.0, 2.0, 10)
    driven = Driven(5, inverse, unpacked, packed)
    np.testing.assert_allclose(driven.propose(np.arange(10.0)), -inverse * np.arange(10.0))
    s, y, gradient = next(random_pairs(1))
    driven.accept(s, y)
    assert driven.direction.reject(None, None)
    np.testing.assert_allclose(driven.propose(gradient), -inverse * gradient)
    assert not driven.direction.reject(None, None)


def bfgs_directions(problem, iterations):
    """Dense BFGS from the identity with exact steps, by its product formula."""
    a, b, x = problem.a, problem.b, problem.x0.copy()
    h, g = np.eye(10), problem.a @ problem.x0 - b
    for _ in range(iterations):
        d = -h @ g
        yield d
        s = -(g @ d) / (d @ a @ d) * d
        x, old = x + s, g
        g = a @ x - b
        y = g - old
        left = np.eye(10) - np.outer(s, y) / (s @ y)
        h = left @ h @ left.T + np.outer(s, s) / (s @ y)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100_000), condition=st.floats(2.0, 1e3))
def test_agrees_with_bfgs_and_conjugate_gradients_on_quadratics(seed, condition, quadratic, exact):
    """With exact steps all of them go along the same lines to the same points (Nazareth, 1979)."""
    problems = [quadratic(seed, condition=condition) for _ in range(3)]
    one, two, three = problems
    methods = [
        LBFGS(one.parameters, search=exact()),
        ConjugateGradient(two.parameters, "hestenes-stiefel", exact()),
        SelfScaledBroyden(three.parameters, "bfgs", exact()),
    ]
    for expected in itertools.islice(bfgs_directions(quadratic(seed, condition=condition), 9), 6):
        for problem, method in zip(problems, methods, strict=True):
            start = problem.x
            method.step(problem)
            moved = problem.x - start
            cosine = moved @ expected / (np.linalg.norm(moved) * np.linalg.norm(expected))
            assert cosine == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(one.x, two.x, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(one.x, three.x, rtol=1e-5, atol=1e-7)


def test_a_preconditioner_is_a_change_of_variables(quadratic, exact, unpacked):
    diagonal = np.exp(np.random.default_rng(5).normal(size=10))
    problem, scaled = quadratic(), quadratic(scale=diagonal**-0.5)
    optimizer = LBFGS(problem.parameters, 3, exact(0.8), preconditioner=Diagonal(unpacked(diagonal)))
    plain = LBFGS(scaled.parameters, 3, exact(0.8))
    for _ in range(12):
        assert optimizer.step(problem) == pytest.approx(plain.step(scaled), rel=1e-10)


@pytest.mark.parametrize("memory", [1, 5, 50])
def test_solves_rosenbrock_with_any_memory(memory):
    x, closure = closure_of(rosenbrock, [1.3, 0.7, 0.8, 1.9, 1.2])
    optimizer = LBFGS([x], memory, HagerZhang(), target_loss=1e-12)
    assert optimizer.minimize(closure, 300) <= 1e-12
    np.testing.assert_allclose(x.detach().numpy(), 1.0, atol=1e-4)


@pytest.mark.parametrize("start", [[1.3, 0.7, 0.8, 1.9, 1.2], [-1.2, 1.0] * 4])
def test_needs_about_as_many_evaluations_as_scipys(start):
    options = {"gtol": 1e-7, "ftol": 0.0, "maxcor": 50}
    peer = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, method="L-BFGS-B", options=options)
    x, closure = closure_of(rosenbrock, start)
    optimizer = LBFGS([x], target_loss=float(peer.fun))
    optimizer.minimize(closure, 300)
    assert optimizer.stop_reason is StopReason.TARGET
    assert sum(r.gradients for r in optimizer.history) <= 1.2 * peer.nfev
    np.testing.assert_allclose(x.detach().numpy(), peer.x, atol=1e-4)


@pytest.mark.parametrize("memory", [0, -3])
def test_refuses_a_memory_of_nothing(memory):
    with pytest.raises(ValueError, match="memory must be a whole number"):
        LBFGSDirection(memory)


@pytest.mark.parametrize("scale", [1e-20, 1e-12, 1e12, 1e25])
def test_in_float32_the_units_of_the_loss_do_not_matter_either(scale):
    """Products of two differences of gradients leave float32's range long before the gradients do."""

    def losses(factor):
        x = torch.tensor([1.3, 0.7, 0.8, 1.9], requires_grad=True)
        target = torch.tensor([1.0, -1.0, 0.5, 2.0])

        def closure():
            loss = (torch.cosh(x - target) * torch.tensor([1.0, 10.0, 3.0, 30.0])).sum() * factor
            x.grad = None
            loss.backward()
            return loss

        optimizer = LBFGS([x])
        return [float(optimizer.step(closure)) / factor for _ in range(12)]

    assert losses(scale) == pytest.approx(losses(1.0), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_separable_classes_in_float32_end_at_a_loss_of_zero_and_not_in_an_error(seed):
    """The loss vanishes at infinity, and with it the curvature: s'y / y'y leaves the range of float32."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(40, 6, generator=generator)
    signs = torch.sign(inputs @ torch.randn(6, generator=generator))
    x = torch.zeros(6, requires_grad=True)

    def closure():
        loss = torch.nn.functional.softplus(-signs * (inputs @ x)).mean()
        x.grad = None
        loss.backward()
        return loss

    assert LBFGS([x]).minimize(closure, 300) < 1e-35


def test_a_minimum_of_zero_is_reached_in_float32():
    x = torch.tensor([3.0, -2.0, 1.0, 5.0], requires_grad=True)

    def closure():
        loss = (torch.tensor([1.0, 10.0, 3.0, 100.0]) * x * x).sum()
        x.grad = None
        loss.backward()
        return loss

    optimizer = LBFGS([x])
    optimizer.minimize(closure, 300)
    assert optimizer.stop_reason is not None
    assert float(closure().detach()) < 1e-30
