from __future__ import annotations

import numpy as np
import pytest

from homestretch.swap import Custom, Decision


def three_rising(seen) -> bool:
    norms = [o.gradient_norm for o in seen[-3:]]
    return len(norms) == 3 and norms == sorted(norms)


def test_sees_the_whole_past(tools):
    series = tools.series([1.0] * 6, [3.0, 2.0, 1.0, 1.5, 2.0, 2.5])
    rule = Custom(three_rising)
    assert rule.name == "three_rising"
    assert tools.swap_epoch(rule, series) == 5


def test_may_give_its_own_decision(tools):
    own = Decision(swap=True, reason="because", rule="mine")
    assert Custom(lambda seen: own, name="mine").observe(tools.series([1.0], [1.0])[0]) is own


def test_wrong_answer(tools):
    with pytest.raises(TypeError, match="three must return a bool or a Decision, got int"):
        Custom(lambda seen: 3, name="three").observe(tools.series([1.0], [1.0])[0])


def test_not_a_function():
    with pytest.raises(TypeError, match="function must be callable"):
        Custom(3)


def test_a_comparison_of_numpys_numbers_is_an_answer(tools):
    decision = Custom(lambda seen: np.mean([o.loss for o in seen]) < 5.0, name="low").observe(tools.series([1.0], [1.0])[0])
    assert decision.swap is True


def test_a_wrong_answer_is_told_with_its_module(tools):
    with pytest.raises(TypeError, match=r"a bool or a Decision, got numpy\.ndarray"):
        Custom(lambda seen: np.ones(2) > 0.0, name="both").observe(tools.series([1.0], [1.0])[0])


def test_the_past_is_made_once_and_anew_after_a_load_or_a_reset(tools):
    series = tools.series([1.0] * 6, [3.0, 2.0, 1.0, 1.5, 2.0, 2.5])
    shown = []
    rule = Custom(lambda seen: shown.append(seen) or False, name="keeps")
    for observation in series[:3]:
        rule.observe(observation)
    assert all(one is other for one, other in zip(shown[-2], shown[-1], strict=False))
    other = Custom(lambda seen: shown.append(seen) or False, name="keeps")
    other.load_state_dict(rule.state_dict())
    other.observe(series[3])
    assert list(shown[-1]) == series[:4]
    rule.reset()
    rule.observe(series[5])
    assert list(shown[-1]) == series[5:]
