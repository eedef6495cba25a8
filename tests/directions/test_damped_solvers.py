from __future__ import annotations

import pytest
import torch

from homestretch.directions.damped_solvers import DualSolver, NormalSolver, OrthogonalSolver, make_solver


def problem(rows, columns, seed=0):
    torch.manual_seed(seed)
    return torch.randn(rows, dtype=torch.float64), torch.randn(rows, columns, dtype=torch.float64)


def pieces(rho, jacobian, size=4):
    return zip(rho.split(size), jacobian.split(size), strict=True)


@pytest.mark.parametrize("name", ["qr", "normal", "dual"])
@pytest.mark.parametrize("shape", [(13, 6), (6, 6), (5, 8)])
@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_step_is_that_of_the_normal_equations(name, shape, damping):
    rho, jacobian = problem(*shape)
    scale = torch.linspace(0.5, 2.0, shape[1], dtype=torch.float64)
    solver, kept = make_solver(pieces(rho, jacobian), name)
    assert kept is None
    torch.testing.assert_close(solver.columns, jacobian.square().sum(0))
    for value in (7.0, damping):  # the second one must not remember the first
        assert solver.factor(value, scale)
    matrix = jacobian.T @ jacobian + damping * torch.diag(scale**2)
    delta, pushed = solver.step()
    torch.testing.assert_close(delta, -torch.linalg.solve(matrix, jacobian.T @ rho), rtol=1e-9, atol=1e-11)
    assert pushed == pytest.approx(float((jacobian @ delta).square().sum()), rel=1e-8)
    right = torch.randn(shape[1], dtype=torch.float64)
    torch.testing.assert_close(solver.correct(right), torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-10)
    assert solver.flops > 0.0


def test_orthogonal_solver_keeps_small_singular_values():
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 8, dtype=torch.float64))[0] for n in (20, 8))
    jacobian = u * torch.logspace(0, -10, 8, dtype=torch.float64) @ v.T
    wanted = torch.randn(8, dtype=torch.float64)
    one = torch.ones(8, dtype=torch.float64)

    def error(solver):
        solver.factor(solver.floor, one)
        return float((solver.step()[0] + wanted).norm())

    rho = jacobian @ wanted
    assert error(OrthogonalSolver([(rho, jacobian)])) < 1e-4
    assert error(NormalSolver([(rho, jacobian)])) > 1e-1


@pytest.mark.parametrize(("shape", "kind"), [((13, 6), NormalSolver), ((6, 6), NormalSolver), ((5, 8), DualSolver)])
@pytest.mark.parametrize("keep", [False, True])
def test_auto_takes_the_smaller_side(shape, kind, keep):
    rho, jacobian = problem(*shape)
    solver, kept = make_solver(pieces(rho, jacobian), "auto", keep=keep)
    assert isinstance(solver, kind)
    torch.testing.assert_close(solver.columns, jacobian.square().sum(0))
    if keep:
        assert torch.equal(kept[0], rho)
        assert torch.equal(kept[1], jacobian)


@pytest.mark.parametrize("name", ["normal", "qr"])
def test_says_when_a_matrix_is_singular(name):
    jacobian = torch.zeros(4, 2, dtype=torch.float64)
    solver, _ = make_solver([(torch.ones(4, dtype=torch.float64), jacobian)], name)
    assert not solver.factor(0.0, torch.ones(2, dtype=torch.float64))
