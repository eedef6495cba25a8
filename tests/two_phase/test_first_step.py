from __future__ import annotations

import pytest

from homestretch import Never


def test_the_mean_takes_in_where_a_closure_is_first_found(setting):
    """Some optimizers call it several times a step."""
    _, objective, optimizer = setting(rule=Never())
    calls = []

    def closure():
        calls.append(float(objective().detach()))
        return calls[-1]

    plain, optimizer.first.step = optimizer.first.step, lambda watched: [watched(), plain(watched)][1]
    optimizer.step(closure)
    assert len(calls) == 2
    assert len(optimizer.mean) == optimizer.first_steps == 1
    assert optimizer.mean.loss() == pytest.approx(calls[0])
