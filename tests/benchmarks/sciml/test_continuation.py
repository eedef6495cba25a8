from __future__ import annotations

import math

import pytest
import torch

from benchmarks.sciml import make_problem
from benchmarks.sciml.continuation import STAGE_ITERATIONS, STAGE_LOSS, Continuation
from benchmarks.sciml.convection import Convection
from benchmarks.sciml.ours import Limits, Method, run_own
from homestretch import SelfScaledBroyden


@pytest.fixture
def convection() -> Convection:
    return Convection(0, (6, 6), points=30)


def test_stages_end_with_the_problem_itself(convection):
    before = convection.residuals()["equation"]
    objective = convection.least_squares()
    descent = SelfScaledBroyden(objective.parameters)
    continuation = Continuation(convection, objective, descent)
    assert not torch.equal(convection.residuals()["equation"], before)
    seen = 0
    while not continuation.over:
        descent.step(objective)
        continuation.after(STAGE_LOSS / 2.0)
        seen += 1
    assert seen == len(convection.stages) - 1
    convection.module.load_state_dict(Convection(0, (6, 6), points=30).module.state_dict())
    assert torch.equal(convection.residuals()["equation"], before)


def test_the_method_sees_the_stage_and_not_the_problem(convection):
    objective = convection.least_squares()
    hard = objective.loss()
    Continuation(convection, objective, SelfScaledBroyden(objective.parameters))
    assert objective.loss() < hard
    assert objective.loss() == pytest.approx(sum(r.detach().square().sum().item() for r in convection.residuals().values()))


@pytest.mark.parametrize(("loss", "iterations"), [(STAGE_LOSS * 0.99, 1), (1.0, STAGE_ITERATIONS)])
def test_a_stage_is_left_when_solved_or_given_up(convection, loss, iterations):
    objective = convection.least_squares()
    continuation = Continuation(convection, objective, SelfScaledBroyden(objective.parameters))
    flow = convection._flow.clone()
    for _ in range(iterations - 1):
        continuation.after(loss)
        assert torch.equal(convection._flow, flow)
    continuation.after(loss)
    assert convection._flow[0, 0] == convection.stages[1]


def test_samples_are_of_the_problem_itself(convection, monkeypatch):
    monkeypatch.setattr("benchmarks.sciml.continuation.STAGE_ITERATIONS", 2)
    adam = torch.optim.Adam(convection.module.parameters())
    run = run_own(Method("auto-continuation", None, continuation=True), convection, adam, Limits(iterations=40))
    stages = 2 * (len(convection.stages) - 1)
    assert run.iterations == 40
    assert all(sample.iterations >= stages for sample in run.samples[1:])
    assert run.samples[-1].loss == pytest.approx(convection.least_squares().loss())


def test_problems_without_stages_refuse():
    problem = make_problem("zoo-sin-64", 0)
    with pytest.raises(NotImplementedError, match="no stages"):
        problem.ease(math.pi)
