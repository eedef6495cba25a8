from __future__ import annotations

import math

import pytest

from homestretch.report.canvas import blank, legend, log_axes, loss_axis, positive


@pytest.mark.parametrize(
    ("values", "whether"), [((1.0, 2.0), True), ((0.0,), False), ((1.0, -1.0), False), ((math.nan,), False)]
)
def test_what_a_logarithm_takes(values, whether):
    assert positive(*values) is whether


def test_axes_are_logarithmic_only_where_something_can_be_drawn():
    _, axes = blank("a title")
    log_axes(axes, "x", "y", rows=[(0.0, 1.0), (math.inf, 2.0)])
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    log_axes(axes, "y", rows=[(0.0, 1.0), (3.0, 2.0)])
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")


def test_a_legend_only_where_there_is_something_to_name():
    figure, (upper, lower) = blank("two panels", panels=2)
    lower.plot([1], [1], label="named")
    for axes in (upper, lower):
        legend(axes)
    assert upper.get_legend() is None
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["named"]
    assert figure.get_suptitle() == "two panels"


@pytest.mark.parametrize(
    ("losses", "scale", "takes_zero"),
    [((1.0, 0.1, math.nan), "log", False), ((1.0, 0.0), "symlog", True), ((1.0, -1.0), "linear", True), ((), "linear", True)],
)
def test_the_axis_of_losses_takes_all_of_them(losses, scale, takes_zero):
    _, axes = blank("a title")
    shown = loss_axis(axes, "y", losses)
    assert axes.get_yscale() == scale
    assert (shown(1.0), shown(0.0), shown(math.inf)) == (True, takes_zero, False)
