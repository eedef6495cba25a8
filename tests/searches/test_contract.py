"""What every search must do, whatever the line."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch.line import SearchStatus
from homestretch.searches import Armijo, GoldenSection, HagerZhang, StrongWolfe, Unit

SEARCHES = {
    "golden": GoldenSection(),
    "armijo": Armijo(),
    "strong-wolfe": StrongWolfe(),
    "strong-wolfe-exact": StrongWolfe(curvature=0.1),
    "hager-zhang": HagerZhang(),
    "hager-zhang-exact": HagerZhang(sigma=0.1),
    "hager-zhang-plain": HagerZhang(quadratic_step=False),
    "unit": Unit(),
}
LIMIT = 61  # the largest of their limits, golden section's, and one

each_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())
searches_that_adapt = pytest.mark.parametrize(
    "search", [s for s in SEARCHES.values() if not isinstance(s, Unit)], ids=[k for k in SEARCHES if k != "unit"]
)
each_price = pytest.mark.parametrize("cheap_loss", [True, False], ids=["cheap", "dear"])
first_steps = pytest.mark.parametrize("first_step", [1e-6, 1e-2, 1.0, 1e2, 1e6])


def check(result, line):
    """The step's values are those of the line, finite, and not above the start beyond the noise."""
    assert math.isfinite(result.step)
    assert result.step >= 0.0
    assert line.evaluations <= LIMIT
    if result.step == 0.0:
        assert result.loss == line.start_loss
        assert result.slope is None
        return
    assert math.isfinite(result.loss)
    assert result.loss == line.phi(result.step)
    assert result.loss <= line.start_loss + line.noise
    assert result.slope is None or result.slope == line.slope(result.step)


@each_search
@each_price
@first_steps
@pytest.mark.parametrize("number", "123456")
def test_on_the_functions_of_more_and_thuente(search, cheap_loss, first_step, number, line, more_thuente):
    tried = line(*more_thuente[number], first_step, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    if not isinstance(search, Unit):
        assert result.step > 0.0


@searches_that_adapt
@each_price
@pytest.mark.parametrize("first_step", [1e-2, 1.0, 1e3])
def test_contracts_until_finite_at_the_border_of_a_domain(search, cheap_loss, first_step, line):
    """``x - log x`` from 100 downhill: NaN from step 100 on, minimum at 99."""
    tried = line(lambda a: 100 - a - math.log(100 - a), lambda a: -1 + 1 / (100 - a), first_step, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    assert 0.0 < result.step < 100.0


@searches_that_adapt
@each_price
def test_contracts_until_finite_from_overflow(search, cheap_loss, line):
    tried = line(lambda a: math.exp(a) - 2 * a, lambda a: math.exp(a) - 2, 1e5, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    assert 0.0 < result.step < 1.26  # where the loss is that of the start again


@each_search
@each_price
def test_says_that_nothing_is_finite(search, cheap_loss, line):
    tried = line(lambda a: math.nan if a else 0.0, lambda a: -1.0, cheap_loss=cheap_loss)
    result = search(tried)
    assert (result.step, result.status) == (0.0, SearchStatus.NON_FINITE)


@each_search
@each_price
def test_says_that_there_is_no_decrease(search, cheap_loss, line):
    """A slope that is wrong: the loss goes up all along the line."""
    tried = line(lambda a: a + a * a, lambda a: -1.0, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    assert (result.step, result.status) == (0.0, SearchStatus.NO_DECREASE)


@searches_that_adapt
@each_price
def test_ends_on_a_line_without_bound(search, cheap_loss, line):
    tried = line(lambda a: -a, lambda a: -1.0, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    assert result.step >= 1.0
    if not isinstance(search, Armijo) or result.step > 1.0:
        assert result.status is SearchStatus.UNBOUNDED


@searches_that_adapt
def test_a_loss_of_minus_infinity_is_not_taken(search, line):
    tried = line(lambda a: -math.inf if a > 10 else -a, lambda a: -1.0)
    result = search(tried)
    check(result, tried)
    assert result.status is SearchStatus.UNBOUNDED
    assert result.step <= 10.0


@searches_that_adapt
@each_price
@first_steps
def test_finds_a_decrease_at_a_kink(search, cheap_loss, first_step, line):
    tried = line(lambda a: abs(a - 1), lambda a: -1.0 if a < 1 else 1.0, first_step, cheap_loss=cheap_loss)
    result = search(tried)
    check(result, tried)
    assert 0.0 < result.step < 2.0


@each_search
@each_price
def test_takes_no_step_that_is_not_lower_where_all_is_flat(search, cheap_loss, line):
    tried = line(lambda a: 1.0, lambda a: -1e-300, cheap_loss=cheap_loss)
    check(search(tried), tried)


@searches_that_adapt
@each_price
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first_step", [0.03, 1.0, 30.0])
def test_sees_through_noise(search, cheap_loss, seed, first_step, line):
    """A parabola of depth 1e-2 under noise of 1e-6, the same at every call for the same step."""
    tried = line(
        lambda a: 1.0 + 1e-2 * ((a - 1) ** 2 - 1) + (2e-6 * (random.Random(f"{seed}:{a}").random() - 0.5) if a else 0.0),
        lambda a: 2e-2 * (a - 1),
        first_step,
        noise=1e-6,
        cheap_loss=cheap_loss,
    )
    result = search(tried)
    check(result, tried)
    assert result.step > 0.0
    assert abs(result.step - 1) < 0.999


@pytest.mark.parametrize(
    "search", [HagerZhang(), HagerZhang(quadratic_step=False), StrongWolfe(), Armijo()], ids=lambda s: type(s).__name__
)
@each_price
@pytest.mark.parametrize("first_step", [0.1, 1.0, 10.0])
def test_slopes_decide_where_float32_losses_are_equal(search, cheap_loss, first_step, line):
    """The decrease, 1e-9 of the loss, is a hundredth of float32's last digit; the slope still points to the minimum at 1."""
    tried = line(
        lambda a: float(np.float32(1.0 + 1e-9 * ((a - 1) ** 2 - 1))),
        lambda a: 2e-9 * (a - 1),
        first_step,
        noise=2e-6,
        cheap_loss=cheap_loss,
    )
    result = search(tried)
    check(result, tried)
    assert result.status in (SearchStatus.ROUNDING, SearchStatus.CONVERGED)
    assert 0.0 < result.step < 2.0


@st.composite
def random_lines(draw):
    """Sums of a parabola, a wave and a power that may overflow, downhill at the start."""
    numbers = st.floats(-3, 3, allow_nan=False)
    bend, height, pitch, power = draw(numbers), draw(numbers), draw(numbers), draw(st.integers(2, 200))
    slope = -(10 ** draw(st.floats(-6, 6)))
    border = draw(st.sampled_from([math.inf, 1e-3, 1.0, 1e3]))

    def loss(a):
        if a >= border:
            return math.nan
        return slope * a + bend * a * a + height * (math.cos(pitch * a) - 1) + (a / 2) ** power

    def derivative(a):
        return slope + 2 * bend * a - height * pitch * math.sin(pitch * a) + power / 2 * (a / 2) ** (power - 1)

    return loss, derivative


@given(
    functions=random_lines(),
    exponent=st.floats(-8, 8),
    noise=st.sampled_from([0.0, 1e-10, 1e-3]),
    scaled=st.booleans(),
    cheap_loss=st.booleans(),
    name=st.sampled_from(list(SEARCHES)),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_line_the_step_is_sound(line, functions, exponent, noise, scaled, cheap_loss, name):
    tried = line(*functions, 10**exponent, noise=noise, scaled=scaled, cheap_loss=cheap_loss)
    check(SEARCHES[name](tried), tried)


@given(functions=random_lines(), exponent=st.floats(-3, 3), power=st.integers(-20, 20), name=st.sampled_from(list(SEARCHES)))
@settings(max_examples=100, deadline=None)
def test_steps_do_not_depend_on_the_scale_of_the_loss(line, functions, exponent, power, name):
    """Powers of two scale without rounding, so the trials must be the same to the last bit."""
    loss, slope = functions
    scale = 2.0**power
    plain = line(loss, slope, 10**exponent)
    scaled = line(lambda a: scale * loss(a), lambda a: scale * slope(a), 10**exponent)
    one, two = SEARCHES[name](plain), SEARCHES[name](scaled)
    assert (one.step, one.status) == (two.step, two.status)
    assert plain.forwards == scaled.forwards
    assert plain.gradients == scaled.gradients


@each_search
@each_price
@pytest.mark.parametrize("allowed", [0, 1, 2, 3, 5])
def test_a_spent_budget_ends_a_search_with_the_best_step_so_far(search, cheap_loss, allowed, line):
    tried = line(lambda a: (a - 3e3) ** 4, lambda a: 4 * (a - 3e3) ** 3, 1e-2, cheap_loss=cheap_loss)
    tried.allowed = allowed
    result = search(tried)
    check(result, tried)
    assert tried.evaluations <= allowed
    if tried.evaluations == allowed and not (isinstance(search, Unit) and allowed):
        assert result.status in (SearchStatus.BUDGET, SearchStatus.CONVERGED)
    if not allowed:
        assert (result.step, result.status) == (0.0, SearchStatus.BUDGET)
    if result.status is SearchStatus.BUDGET and allowed:
        steps = tried.forwards + tried.gradients
        assert result.loss == min(tried.phi(a) for a in [0.0, *steps])
