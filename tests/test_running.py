from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR

from homestretch import LBFGS, AtEpoch, NoResort, fit
from homestretch.history import EpochRecord


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def data(count=60):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)


def settings():
    return {"batch_size": 16, "rule": AtEpoch(4), "resort": NoResort(), "second": LBFGS, "seed": 3}


def losses_of(result):
    return [r.loss for r in result.history.of(EpochRecord)]


def test_checkpoints_may_be_rarer(tmp_path):
    result = fit(network(), mse_loss, data(), epochs=6, out=tmp_path, save_every=3600.0, **settings())
    assert [p.name for p in tmp_path.glob("checkpoint*")] == ["checkpoint.pt"]  # only the last epoch's
    again = fit(network(), mse_loss, data(), epochs=8, out=tmp_path, resume=True, save_every=3600.0, **settings())
    whole = fit(network(), mse_loss, data(), epochs=8, **settings())
    assert losses_of(again) == losses_of(whole)
    assert losses_of(result) == losses_of(whole)[:6]
    with pytest.raises(ValueError, match="save_every"):
        fit(network(), mse_loss, data(), epochs=1, save_every=-1.0)


def test_a_run_that_spent_its_budget_may_go_on_by_epochs(tmp_path):
    cut = fit(network(), mse_loss, data(), budget=9.0, out=tmp_path, **settings())
    assert cut.optimizer.phase == "second"
    more = fit(network(), mse_loss, data(), epochs=cut.epochs + 3, out=tmp_path, resume=True, **settings())
    assert more.epochs == cut.epochs + 3
    assert more.loss < cut.loss


def halved_later(epoch):
    return 0.5 if epoch > 3 else 1.0


class Scaled(LRScheduler):
    """A schedule of a user's own that keeps its function, as torch's do not in their state."""

    def __init__(self, optimizer, scale):
        self.scale = scale
        super().__init__(optimizer)

    def get_lr(self):
        return [rate * self.scale(self.last_epoch) for rate in self.base_lrs]


@pytest.mark.parametrize("scale", [halved_later, lambda epoch: 0.5 if epoch > 3 else 1.0])
def test_a_schedule_that_holds_a_function_is_gone_on_with(scale, tmp_path):
    def schedule(optimizer):
        return SequentialLR(optimizer, [LinearLR(optimizer), Scaled(optimizer, scale)], [1])

    options = {**settings(), "rule": AtEpoch(7), "schedule": schedule}
    whole = fit(network(), mse_loss, data(), epochs=9, **options)
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **options)
    again = fit(network(), mse_loss, data(), epochs=9, out=tmp_path, resume=True, **options)
    assert losses_of(again) == losses_of(whole)
