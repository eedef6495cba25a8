from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import LeastSquares
from homestretch.objective.redraw import Box, ResidualRedraw, ResidualRefinement, UniformRedraw

SQUARE = Box([0.0, 0.0], [1.0, 1.0])


def test_the_odds_are_those_of_the_residual_at_the_pool():
    def residuals(model, points):
        return {"equation": torch.where(points["equation"][:, :1] > 0.8, 1.0, 1e-6).double() + 0.0 * model(points["equation"])}

    net = nn.Linear(2, 1).double()
    rule = {"equation": ResidualRedraw(SQUARE, 1, floor=0.0, pool=20)}
    f = LeastSquares(residuals, net, {"equation": SQUARE(50, torch.Generator().manual_seed(0))}, redraw=rule)
    f()
    before = f.meter.forwards
    f.redraw()
    assert bool((f.points["equation"][:, 0] > 0.8).all())
    assert f.meter.forwards == before + 20.0  # the pool is twenty times the points


def test_points_shared_by_all_terms_weigh_these():
    def residuals(model, x):
        return {"left": (x[:, 0] < 0.5).double() + 0.0 * model(x)[:, 0], "right": (x[:, 0] >= 0.5).double()}

    rule = ResidualRefinement(SQUARE, 3, add=5)
    f = LeastSquares(
        residuals, nn.Linear(2, 1).double(), SQUARE(9, torch.Generator().manual_seed(0)), weights={"right": 4.0}, redraw=rule
    )
    f.redraw()
    assert f.points.shape == (14, 2)
    assert bool((f.points[9:, 0] >= 0.5).all())
    assert f.change == "points added by residual, draw 1"


def counted(rule, shared):
    """Entries evaluated by the residual function and passes counted for one draw of the set "equation"."""
    entries = []

    def residuals(model, points):
        inner, border = (points, points) if shared else (points["equation"], points["border"])
        terms = {"equation": model(inner), "border": model(border).repeat(1, 3)}
        entries.append(sum(r.numel() for r in terms.values()))
        return terms

    generator = torch.Generator().manual_seed(0)
    points = SQUARE(20, generator)
    f = LeastSquares(
        residuals,
        nn.Linear(2, 1).double(),
        points if shared else {"equation": points, "border": SQUARE(10, generator)},
        redraw=rule if shared else {"equation": rule},
    )
    f.loss()
    before, whole = f.meter.forwards, entries.pop()
    f.redraw()
    return sum(entries) / whole, f.meter.forwards - before


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("rule", [ResidualRedraw(SQUARE, 1), ResidualRefinement(SQUARE, 1, add=3), UniformRedraw(SQUARE, 1)])
def test_a_draw_costs_what_it_evaluates(rule, shared):
    """The terms whose points are not drawn are evaluated too."""
    evaluated, price = counted(rule, shared)
    assert price == pytest.approx(evaluated, rel=1e-12)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_points_that_cannot_be_walked_do_not_hinder_a_plain_fit(kind):
    """Only what draws, casts or differentiates them needs their structure."""
    model, x = nn.Linear(2, 1).to(kind), torch.zeros(5, 2, dtype=kind)
    f = LeastSquares(lambda m, p: m(p["x"]) - p["shift"], model, {"x": x, "shift": 0.5})
    assert float(f()) == pytest.approx(f.loss())


def test_the_equations_of_a_system_draw_their_points_together():
    def residuals(model, points):
        x, zero = points["equations"], 0.0 * model(points["equations"])[:, 0]
        return {
            "mass": (x[:, 0] > 0.5).double() + zero,
            "momentum": 9.0 * (x[:, 0] <= 0.5).double() + zero,
            "border": model(points["border"]),
        }

    generator = torch.Generator().manual_seed(0)
    points = {"equations": SQUARE(50, generator), "border": SQUARE(20, generator)}
    rule = {"equations": ResidualRefinement(SQUARE, 1, add=30)}
    f = LeastSquares(residuals, nn.Linear(2, 1).double(), points, weights={"mass": 100.0}, redraw=rule)
    f.redraw()
    assert len(f.points["equations"]) == 80
    assert bool((f.points["equations"][50:, 0] > 0.5).all())
    f = LeastSquares(residuals, nn.Linear(2, 1).double(), {**points, "border": points["equations"]}, redraw=rule)
    f.redraw()  # the border's set has a term of its name, whatever its length
    assert bool((f.points["equations"][50:, 0] <= 0.5).all())


def test_a_set_that_no_term_is_known_to_be_taken_at_says_so():
    points = {"left": torch.zeros(5, 2).double(), "right": torch.zeros(5, 2).double()}
    rule = {"left": ResidualRedraw(SQUARE, 1)}
    f = LeastSquares(lambda m, p: m(torch.cat([p["left"], p["right"]])), nn.Linear(2, 1).double(), points, redraw=rule)
    with pytest.raises(ValueError, match=r"points of 'left' cannot be drawn by residual.*set of its name"):
        f.redraw()
