from __future__ import annotations

import math

import pytest
import torch

from homestretch import Descent, LeastSquares
from homestretch.directions.levenberg_marquardt import LevenbergMarquardtDirection
from homestretch.line import SearchStatus
from homestretch.searches.unit import Unit


class Parabola:
    """Loss ``(a - middle)^2``, infinite from ``border`` on."""

    noise, scaled, cheap_loss = 0.0, True, True

    def __init__(self, middle: float, first_step: float = 1.0, border: float = math.inf) -> None:
        self.middle, self.first_step, self.border = middle, first_step, border
        self.start_loss, self.start_slope = middle**2, -2.0 * middle
        self.tried: list[float] = []

    def exhausted(self, *, graded: bool) -> bool:
        return False

    def loss(self, step: float) -> float:
        self.tried.append(step)
        return math.inf if step >= self.border else (step - self.middle) ** 2

    def loss_and_slope(self, step: float) -> tuple[float, float]:
        return self.loss(step), 2.0 * (step - self.middle)


@pytest.mark.parametrize("first_step", [0.3, 1.0, 1.9])
def test_takes_the_step_that_was_proposed(first_step):
    line = Parabola(1.0, first_step)
    result = Unit()(line)
    assert (result.step, result.status) == (first_step, SearchStatus.CONVERGED)
    assert result.loss == (first_step - 1.0) ** 2
    assert line.tried == [first_step]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (Parabola(0.4), SearchStatus.NO_DECREASE),
        (Parabola(0.5), SearchStatus.NO_DECREASE),
        (Parabola(1.0, border=0.9), SearchStatus.NON_FINITE),
    ],
)
def test_or_nothing(line, status):
    result = Unit()(line)
    assert (result.step, result.loss, result.status) == (0.0, line.start_loss, status)
    assert len(line.tried) == 1


def test_decrease_is_a_share_of_the_slopes_promise():
    line = Parabola(0.55)  # lowers the loss by 0.1 of 1.1
    assert Unit(decrease=0.05)(line).step == 1.0
    assert Unit(decrease=0.15)(line).step == 0.0


@pytest.mark.parametrize("value", [-0.1, 0.5, math.nan])
def test_refuses_bad_numbers(value):
    with pytest.raises(ValueError, match="decrease"):
        Unit(decrease=value)


def test_too_small_a_decrease_is_rejected():
    """It lowers the loss, by a twentieth of what the slope promises: a damped method answers with more damping."""
    line = Parabola(1.0, first_step=1.9)
    assert Unit(0.1)(line).status is SearchStatus.REJECTED
    assert Unit(0.01)(line).step == 1.9


def test_the_loop_takes_no_rejected_step():
    def first(decrease):
        x = torch.tensor([1.35], dtype=torch.float64, requires_grad=True)
        f = LeastSquares(x.atan, [x])  # Gauss and Newton's step leads to -1.29, where little is gained
        optimizer = Descent([x], LevenbergMarquardtDirection(damping=1e-12, scale="identity", geodesic=False), Unit(decrease))
        optimizer.step(f)
        return optimizer.history[0]

    loose, strict = first(0.0), first(0.49)
    assert loose.forwards < strict.forwards
    assert strict.search_status == "converged"
