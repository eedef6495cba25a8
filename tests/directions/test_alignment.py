from __future__ import annotations

import pytest
import torch

from homestretch.directions.alignment import Order, gauss_newton_operator, hessian_operator, residuals_of, said
from homestretch.errors import UnsupportedError
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.least_squares import LeastSquares
from homestretch.objective.penalty import Penalized


def quadratic():
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    b = torch.ones(3, dtype=torch.float64, requires_grad=True)
    return a, b, LeastSquares(lambda: {"a": 2.0 * a, "b": 3.0 * b}, [a, b], reduction="sum")


@pytest.mark.parametrize("make", [hessian_operator, gauss_newton_operator])
@pytest.mark.parametrize("swap", [False, True])
def test_products_come_in_the_optimizers_order(make, swap):
    a, b, f = quadratic()
    parameters = [b, a] if swap else [a, b]
    product = make(f, parameters, "Method")([p.detach().clone() for p in parameters])
    factors = [18.0, 8.0] if swap else [8.0, 18.0]
    for p, found, factor in zip(parameters, product, factors, strict=True):
        torch.testing.assert_close(found, factor * p.detach())


def test_there_and_back_again():
    tensors = [torch.tensor(float(i), requires_grad=True) for i in range(4)]
    order = Order([tensors[i] for i in (2, 0, 3, 1)], tensors)
    assert [float(t.detach()) for t in order.to_function(tensors)] == [2.0, 0.0, 3.0, 1.0]
    assert all(x is y for x, y in zip(order.to_optimizer(order.to_function(tensors)), tensors, strict=True))


def test_functions_without_products_are_refused_with_the_remedy():
    p = torch.ones(1, requires_grad=True)
    closure = ClosureFunction(lambda: p.sum(), [p])
    for call in (
        lambda: hessian_operator(closure, [p], "NewtonCG"),
        lambda: gauss_newton_operator(closure, [p], "GaussNewtonCG"),
        lambda: residuals_of(closure, "LevenbergMarquardt"),
    ):
        with pytest.raises(UnsupportedError, match=r"hand an? "):
            call()


def test_residuals_beside_a_weight_decay_are_refused_with_the_reason():
    p = torch.ones(2, dtype=torch.float64, requires_grad=True)
    function = LeastSquares(lambda: {"all": p - 3.0}, [p])
    assert residuals_of(function, "LevenbergMarquardt") is function
    with pytest.raises(UnsupportedError, match="weight decay of `first`"):
        residuals_of(Penalized(function, [p], [0.1]), "LevenbergMarquardt")


def test_other_parameters_are_refused():
    a, b, f = quadratic()
    with pytest.raises(UnsupportedError, match="requires_grad=False"):
        hessian_operator(f, [a], "NewtonCG")
    with pytest.raises(UnsupportedError, match="same"):
        gauss_newton_operator(f, [a, b.detach().clone()], "GaussNewtonCG")


def test_the_way_that_was_chosen_is_said_once_it_is_known():
    a, b, f = quadratic()
    assert said(f, "hessian") == {}
    f.hessian_product([torch.ones_like(a), torch.ones_like(b)])
    assert said(f, "hessian") == {"hessian: reverse-over-reverse": 1.0}
    assert said(ClosureFunction(lambda: a.sum(), [a]), "hessian") == {}
