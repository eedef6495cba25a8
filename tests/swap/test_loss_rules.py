from __future__ import annotations

import pytest

from homestretch.swap import AtLoss, Plateau


def test_plateau_waits_for_patience(tools):
    losses = [1.0, 0.8, 0.799, 0.5, 0.5, 0.498, 0.51, 0.4]
    assert tools.swap_epoch(Plateau(patience=3, threshold=0.01), tools.series(losses, [1.0] * 8)) == 7


def test_plateau_goes_on_while_the_loss_falls(tools):
    losses = [0.9**i for i in range(50)]
    assert tools.swap_epoch(Plateau(patience=1, threshold=0.05), tools.series(losses, [1.0] * 50)) is None


def test_plateau_with_negative_losses(tools):
    losses = [-1.0, -1.5, -2.0, -2.001, -2.001]
    assert tools.swap_epoch(Plateau(patience=2, threshold=0.01), tools.series(losses, [1.0] * 5)) == 5


def test_at_loss(tools):
    rule = AtLoss(0.5)
    decisions = [rule.observe(o) for o in tools.series([1.0, 0.6, 0.5, 0.4], [1.0] * 4)]
    assert [d.swap for d in decisions] == [False, False, True, True]
    assert decisions[1].reason == "loss 0.6 is above the target 0.5"


def test_wrong_target():
    with pytest.raises(ValueError, match="target must be finite"):
        AtLoss(float("nan"))
    with pytest.raises(TypeError, match=r"target must be a number, got '0.3' \(str\)"):
        AtLoss("0.3")
