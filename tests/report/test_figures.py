from __future__ import annotations

import sys

import matplotlib.figure
import numpy as np
import pytest

from homestretch.history import EventRecord
from homestretch.report import gradient_norm_against_loss, gradient_norm_by_epoch, loss_against_cost, search_effort
from homestretch.swap import LiteralPeak, Observation
from tests.report.conftest import LOSSES, NORMS, SWAP, epoch_record, history_of


def lines(drawing, panel=0):
    return {line.get_label(): np.array(line.get_xydata()) for line in drawing.figure.axes[panel].get_lines()}


def recipes(history):
    return loss_against_cost({"one": history, "two": history})


@pytest.mark.parametrize("draw", [gradient_norm_against_loss, recipes, gradient_norm_by_epoch, search_effort])
def test_odd_runs_are_drawn(draw, odd, tmp_path):
    drawing = draw(odd)
    assert isinstance(drawing.figure, matplotlib.figure.Figure)
    drawing.figure.savefig(tmp_path / "figure.png")


def test_no_global_state_is_used(swapped):
    for draw in (gradient_norm_against_loss, recipes, gradient_norm_by_epoch, search_effort):
        draw(swapped)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_norm_against_loss_runs_from_right_to_left_with_the_swap_marked(swapped):
    drawing = gradient_norm_against_loss(swapped, "a title")
    axes = drawing.figure.axes[0]
    shown = lines(drawing)
    np.testing.assert_array_equal(shown["first phase (mean of mini-batches)"], list(zip(LOSSES, NORMS, strict=True))[:SWAP])
    np.testing.assert_array_equal(shown["convex phase (exact)"], list(zip(LOSSES, NORMS, strict=True))[SWAP:])
    np.testing.assert_array_equal(shown["swap after epoch 5"], [(LOSSES[SWAP - 1], NORMS[SWAP - 1])])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert not axes.xaxis_inverted()  # a falling loss moves to the left
    assert "right to left" in axes.get_xlabel()
    assert drawing.figure.get_suptitle() == "a title"


def test_norm_against_loss_keeps_every_epoch_in_its_data(swapped):
    rows = gradient_norm_against_loss(swapped).rows
    assert [(r["epoch"], r["loss"], r["gradient_norm"]) for r in rows] == list(
        zip(range(1, len(LOSSES) + 1), LOSSES, NORMS, strict=True)
    )
    assert [r["phase"] for r in rows] == ["first"] * SWAP + ["second"] * (len(LOSSES) - SWAP)


def test_losses_of_recipes_share_the_axis_of_cost(swapped):
    drawing = loss_against_cost({"two phases": swapped, "one phase": history_of(LOSSES[:3], NORMS[:3])})
    shown = lines(drawing)
    costs = 1.5 * np.arange(1, len(LOSSES) + 1)
    np.testing.assert_array_equal(shown["two phases"], np.stack([costs, LOSSES], 1))
    np.testing.assert_array_equal(shown["one phase"], np.stack([costs, LOSSES], 1)[:3])
    axes = drawing.figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert "gradient-equivalents" in axes.get_xlabel()
    marks = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert [tuple(m.get_xydata()[0]) for m in marks] == [(costs[SWAP - 1], LOSSES[SWAP - 1])]
    assert marks[0].get_color() == axes.get_lines()[0].get_color()
    assert [r["recipe"] for r in drawing.rows] == ["two phases"] * len(LOSSES) + ["one phase"] * 3


def test_recipes_differ_in_colour_and_dashes(swapped):
    drawing = loss_against_cost(dict.fromkeys("abcd", swapped))
    curves = [line for line in drawing.figure.axes[0].get_lines() if line.get_marker() != "D"]
    assert len({line.get_color() for line in curves}) == len({line.get_linestyle() for line in curves}) == 4


@pytest.mark.parametrize("factor", [0.9, 0.5])
def test_norm_by_epoch_shows_maximum_threshold_and_swap(swapped, factor):
    drawing = gradient_norm_by_epoch(swapped, factor=factor)
    maxima = np.maximum.accumulate(NORMS[:SWAP])
    shown = lines(drawing)
    np.testing.assert_array_equal(shown["running maximum"][:, 1], maxima)
    np.testing.assert_allclose(shown[f"literal rule: {factor:g} x"][:, 1], factor * maxima, rtol=1e-15)
    assert set(shown["swap after epoch 5"][:, 0]) == {SWAP}
    assert [r["gradient_norm"] for r in drawing.rows] == list(NORMS)
    assert [r["running_maximum"] for r in drawing.rows] == [*maxima, *[maxima[-1]] * (len(NORMS) - SWAP)]


def test_searches_show_steps_and_evaluations(swapped):
    drawing = search_effort(swapped)
    shown = lines(drawing)
    np.testing.assert_array_equal(shown["step taken"], [(1, 0.5), (3, 2.0)])  # a search without a step is a gap
    assert [r["step"] for r in drawing.rows] == [0.5, 0.0, 2.0]
    gradients, forwards = drawing.figure.axes[1].containers
    assert [bar.get_height() for bar in gradients] == [1, 1, 1]
    assert [(bar.get_y(), bar.get_height()) for bar in forwards] == [(1, 2)] * 3


def test_without_iterations_it_says_so():
    drawing = search_effort(history_of(LOSSES, NORMS))
    assert drawing.rows == []
    assert "no iteration" in drawing.figure.axes[1].texts[0].get_text()


@pytest.mark.parametrize(
    ("losses", "scale"), [((2.0, 0.5, 0.0), "symlog"), ((2.0, -1.0, -7.0), "linear"), ((0.0, 0.0), "linear")]
)
def test_losses_of_zero_or_less_are_drawn(losses, scale, tmp_path):
    history = history_of(losses, NORMS[: len(losses)], 2)
    for drawing, column in ((loss_against_cost({"one": history}), 1), (gradient_norm_against_loss(history), 0)):
        axes = drawing.figure.axes[0]
        assert (axes.get_xscale(), axes.get_yscale())[column] == scale
        shown = [line for line in axes.get_lines() if line.get_marker() != "D"]
        assert [v for line in shown for v in np.array(line.get_xydata())[:, column]] == list(losses)
        drawing.figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(
    ("event", "begins_anew"),
    [
        (EventRecord(epoch=3, name="resort", message="it lagged"), True),
        (EventRecord(epoch=3, name="race", message="", values={"first_loss": 1.0, "second_loss": 2.0}), True),
        (EventRecord(epoch=3, name="race", message="", values={"first_loss": 2.0, "second_loss": 1.0}), False),
    ],
)
def test_the_threshold_is_the_rules_after_a_return(event, begins_anew):
    history, rule, thresholds = history_of((), ()), LiteralPeak(), []
    for epoch, norm in enumerate((1.0, 5.0, 4.8, 1.0, 1.2, 1.1), 1):
        history.append(epoch_record(epoch, 1.0 / epoch, norm, "first"))
        seen = Observation(epoch=epoch, loss=1.0 / epoch, gradient_norm=norm, cost=float(epoch))
        thresholds.append(rule.observe(seen).values["threshold"])
        if epoch == 3:
            history.append(event)
            if begins_anew:
                rule.begin_again()
    assert [r["threshold"] for r in gradient_norm_by_epoch(history).rows] == pytest.approx(thresholds)


def test_iterations_and_evaluations_are_whole_numbers(swapped):
    effort = search_effort(swapped).figure.axes[1]
    assert all(float(tick).is_integer() for axis in (effort.xaxis, effort.yaxis) for tick in axis.get_majorticklocs())
