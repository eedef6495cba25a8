from __future__ import annotations

import numpy as np
import pytest
import torch

from homestretch.errors import NonFiniteError
from homestretch.objective.redraw import Box, ResidualRedraw, ResidualRefinement, UniformRedraw, draw_generator

SQUARE = Box([0.0, -1.0], [1.0, 1.0])


def points(count=200):
    return torch.zeros(count, 2, dtype=torch.float64)


def in_a_corner(pool):
    """A residual that is 1 where x > 0.9 and a hundredth elsewhere."""
    return torch.where(pool[:, 0] > 0.9, 1.0, 0.01).double()


def test_a_box_is_filled_evenly_and_nothing_falls_outside():
    found = SQUARE(20000, draw_generator(0, 1, 0))
    assert found.dtype == torch.float64
    assert found.shape == (20000, 2)
    assert float(found[:, 0].min()) >= 0.0
    assert float(found[:, 0].max()) < 1.0
    assert float(found[:, 1].min()) >= -1.0
    torch.testing.assert_close(found.mean(0), torch.tensor([0.5, 0.0], dtype=torch.float64), atol=0.02, rtol=0)


@pytest.mark.parametrize(("low", "high"), [([0.0], [1.0, 2.0]), ([], []), ([1.0], [1.0])])
def test_a_box_needs_intervals(low, high):
    with pytest.raises(ValueError, match="intervals"):
        Box(low, high)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple])
def test_the_ends_of_a_box_may_be_arrays(kind):
    box = Box(kind([0.0, -1.0]), kind([1.0, 1.0]))
    assert box == SQUARE
    assert torch.equal(box(5, draw_generator(0, 1, 0)), SQUARE(5, draw_generator(0, 1, 0)))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), ([[0.0, 0.0]], [[1.0, 1.0]]), ([None], [1.0])])
def test_ends_that_are_no_numbers_for_each_interval_are_refused(low, high):
    with pytest.raises(TypeError, match="low must hold one number for each interval"):
        Box(low, high)


@pytest.mark.parametrize("rule", [UniformRedraw(SQUARE, 5), ResidualRedraw(SQUARE, 5), ResidualRefinement(SQUARE, 5, add=7)])
def test_a_draw_depends_on_seed_number_and_place_alone(rule):
    first = rule.draw(points(), in_a_corner, draw_generator(3, 1, 0))
    torch.manual_seed(99)
    assert torch.equal(rule.draw(points(), in_a_corner, draw_generator(3, 1, 0)), first)
    for other in ((4, 1, 0), (3, 2, 0), (3, 1, 1)):
        assert not torch.equal(rule.draw(points(), in_a_corner, draw_generator(*other)), first)


def test_uniform_points_ignore_the_residual():
    def never(pool):
        raise AssertionError("the residual is not asked for")

    found = UniformRedraw(SQUARE, 1).draw(points(5000), never, draw_generator(0, 1, 0))
    assert float((found[:, 0] > 0.9).double().mean()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("power", "floor"), [(1.0, 1.0), (2.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_share_of_points_follows_the_odds(power, floor):
    # Pools far larger than what is taken from them make drawing without replacement as good as with.
    rule = ResidualRedraw(SQUARE, 1, power=power, floor=floor, pool=50)
    found = rule.draw(points(4000), in_a_corner, draw_generator(0, 1, 0))
    mean = 0.1 + 0.9 * 0.01**power
    inside, outside = 0.1 * (1.0 / mean + floor), 0.9 * (0.01**power / mean + floor)
    expected = inside / (inside + outside)
    assert float((found[:, 0] > 0.9).double().mean()) == pytest.approx(expected, abs=0.04)
    assert len(found.unique(dim=0)) == 4000


def test_refinement_adds_the_largest_up_to_a_limit():
    rule = ResidualRefinement(SQUARE, 1, add=10, limit=25)
    grown = rule.draw(points(10), lambda pool: pool[:, 1], draw_generator(0, 1, 0))
    assert grown.shape == (20, 2)
    assert not grown[:10].any()
    pool = SQUARE(1000, draw_generator(0, 1, 0))
    assert torch.equal(grown[10:, 1], pool[:, 1].topk(10).values)
    again = rule.draw(grown, lambda pool: pool[:, 1], draw_generator(0, 2, 0))
    assert len(again) == 25
    assert rule.draw(again, lambda pool: pool[:, 1], draw_generator(0, 3, 0)) is None


def test_refinement_by_odds():
    rule = ResidualRefinement(SQUARE, 1, add=300, power=2.0)
    grown = rule.draw(points(10), in_a_corner, draw_generator(0, 1, 0))
    assert float((grown[10:, 0] > 0.9).double().mean()) > 0.95


def test_points_keep_their_structure_and_dtype():
    def domain(count, generator):
        x = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        return {"x": x, "y": (x.sin(), [2.0 * x])}

    known = {"x": torch.zeros(6, 1), "y": (torch.zeros(6, 1), [torch.zeros(6, 1)])}
    found = ResidualRedraw(domain, 1).draw(known, lambda pool: pool["x"][:, 0], draw_generator(0, 1, 0))
    assert found["x"].dtype == torch.float32
    torch.testing.assert_close(found["y"][0], found["x"].sin())
    torch.testing.assert_close(found["y"][1][0], 2.0 * found["x"])
    assert len(found["x"]) == 6
    with pytest.raises(ValueError, match="same structure"):
        UniformRedraw(SQUARE, 1).draw(known, in_a_corner, draw_generator(0, 1, 0))
    with pytest.raises(ValueError, match="first dimension"):
        UniformRedraw(SQUARE, 1).draw((points(3), points(4)), in_a_corner, draw_generator(0, 1, 0))


def test_a_residual_of_zero_everywhere_draws_evenly():
    found = ResidualRedraw(SQUARE, 1).draw(points(), lambda pool: torch.zeros(len(pool)), draw_generator(0, 1, 0))
    assert len(found.unique(dim=0)) == 200


@pytest.mark.parametrize(
    "rule", [ResidualRedraw(SQUARE, 1), ResidualRefinement(SQUARE, 1), ResidualRefinement(SQUARE, 1, power=1.0)]
)
def test_a_residual_that_is_not_finite_is_refused(rule):
    """NaN is the largest of all numbers to torch: such points were added first."""
    with pytest.raises(NonFiniteError, match="domain"):
        rule.draw(points(), lambda pool: torch.full((len(pool),), float("nan")), draw_generator(0, 1, 0))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: UniformRedraw(SQUARE, 0), "every"),
        (lambda: ResidualRedraw(SQUARE, 1, power=-1.0), "power"),
        (lambda: ResidualRedraw(SQUARE, 1, floor=float("nan")), "floor"),
        (lambda: ResidualRedraw(SQUARE, 1, pool=0), "pool"),
        (lambda: ResidualRefinement(SQUARE, 1, add=0), "add"),
        (lambda: ResidualRefinement(SQUARE, 1, limit=0), "limit"),
    ],
)
def test_wrong_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("rule", [UniformRedraw(SQUARE, 5), ResidualRedraw(SQUARE, 5), ResidualRefinement(SQUARE, 5, add=7)])
@pytest.mark.parametrize("differentiable", [True, False])
def test_drawn_points_are_differentiable_if_the_old_ones_are(rule, differentiable):
    old = points().requires_grad_(differentiable)
    drawn = rule.draw(old, in_a_corner, draw_generator(0, 1, 0))
    assert drawn.requires_grad is differentiable
    assert drawn.is_leaf


RULES = [UniformRedraw, ResidualRedraw, ResidualRefinement]


@pytest.mark.parametrize("rule", RULES)
def test_a_domain_that_drops_points_is_refused_before_they_run_out(rule):
    def corner(count, generator):
        return SQUARE(count, generator)[:1]

    with pytest.raises(ValueError, match=r"domain must draw as many points as it is asked for, got 1 for \d+: .*draw on until"):
        rule(corner, 5).draw(points(30), in_a_corner, draw_generator(0, 1, 0))


@pytest.mark.parametrize("rule", RULES)
def test_points_of_another_dimension_are_refused(rule):
    with pytest.raises(ValueError, match=r"domain must draw points of shape \('count', 2\), got \(\d+, 1\)"):
        rule(Box([0.0], [1.0]), 5).draw(points(30), in_a_corner, draw_generator(0, 1, 0))


def test_a_domain_that_draws_too_many_leaves_their_number_as_it_was():
    found = UniformRedraw(lambda count, generator: SQUARE(count + 3, generator), 5).draw(
        points(30), in_a_corner, draw_generator(0, 1, 0)
    )
    assert found.shape == (30, 2)
