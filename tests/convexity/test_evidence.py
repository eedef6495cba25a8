from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from homestretch import vectors
from homestretch.convexity import Evidence, Verdict, gather
from homestretch.cost import HESSIAN_PRODUCT

CONVEX = Evidence(
    gradient_curvature=1.0,
    step_curvature=None,
    lambda_min=-0.005,
    lambda_max=1.0,
    residual_min=0.02,
    residual_max=0.001,
    negative_fraction=0.1,
    products=8,
    cost=24.0,
)


def counted(product):
    calls = []

    def counting(v):
        calls.append(1)
        return product(v)

    return counting, calls


def test_gathers_what_the_exact_hessian_says(network):
    product, calls = counted(network.product)
    step = [0.1 * g for g in network.gradient]
    found = gather(
        product, network.gradient, last_step=step, gradient_change=network.product(step), products=40, tolerance=1e-8
    )
    exact = torch.linalg.eigvalsh(network.matrix)
    g = vectors.pack(network.gradient)
    assert found.lambda_min == pytest.approx(float(exact[0]), abs=1e-7)
    assert found.lambda_max == pytest.approx(float(exact[-1]), rel=1e-7)
    assert found.gradient_curvature == pytest.approx(float(g @ network.matrix @ g / (g @ g)), rel=1e-9)
    assert found.step_curvature == pytest.approx(found.gradient_curvature, rel=1e-6)
    assert 0.0 <= found.negative_fraction <= 1.0
    assert found.products == len(calls)
    assert found.cost == HESSIAN_PRODUCT * len(calls)


@pytest.mark.parametrize("products", [3, 6, 12])
def test_cost_is_bounded(network, products):
    product, calls = counted(network.product)
    found = gather(product, network.gradient, products=products, price=0.5, tolerance=0.0)
    assert len(calls) == products
    assert found.cost == 0.5 * products
    assert found.step_curvature is None
    assert math.isnan(found.values()["step_curvature"])


def test_settled_ends_early(make_spectrum):
    case = make_spectrum([-50.0, *[0.01 * i for i in range(100)], 100.0], [(102,)])
    product, calls = counted(case.product)
    gather(product, [torch.ones(102, dtype=torch.float64)], products=60)
    assert len(calls) < 15


@pytest.mark.parametrize(
    ("arguments", "message"), [({"last_step": [torch.ones(2)]}, "together"), ({"products": 2}, "products must be")]
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        gather(lambda v: v, [torch.ones(2)], **arguments)


@pytest.mark.parametrize(
    ("changes", "convex"),
    [
        ({}, True),
        ({"gradient_curvature": -1e-9}, False),
        ({"gradient_curvature": math.nan}, False),
        ({"lambda_min": -0.01}, True),
        ({"lambda_min": -0.0101}, False),
        ({"lambda_min": -2.0, "lambda_max": -1.0}, False),
    ],
)
def test_verdict_needs_two_in_a_row(changes, convex):
    verdict, evidence = Verdict(), replace(CONVEX, **changes)
    assert [verdict.observe(evidence).swap for _ in range(3)] == [False, convex, convex]


def test_verdict_starts_again_after_a_refusal():
    verdict, bad = Verdict(times=2), replace(CONVEX, lambda_min=-1.0)
    assert [verdict.observe(e).swap for e in (CONVEX, bad, CONVEX, CONVEX)] == [False, False, False, True]


def test_strict_counts_the_residual():
    assert not Verdict(times=1, strict=True).observe(CONVEX).swap
    assert Verdict(times=1, strict=True).observe(replace(CONVEX, residual_min=0.004)).swap


def test_verdict_reason_and_state():
    verdict, fresh = Verdict(), Verdict()
    decision = verdict.observe(CONVEX)
    assert decision.reason == (
        "curvature along the gradient 1 is positive, smallest eigenvalue -0.005 is not below -0.01 x the largest 1; "
        "convex 1 of 2 times in a row"
    )
    assert decision.values["lambda_max"] == 1.0
    fresh.load_state_dict(json.loads(json.dumps(verdict.state_dict())))
    assert fresh.observe(CONVEX).swap


def test_no_parameter_gives_no_evidence():
    with pytest.raises(ValueError, match="gradient is empty: there is no parameter"):
        gather(lambda v: v, [])
