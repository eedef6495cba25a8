from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from homestretch import LBFGS, AtEpoch, NoResort, TwoPhase
from homestretch.integrations import lightning as ours

lightning = pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*training batches .* is smaller than the logging interval.*"),
]
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Line(lightning.LightningModule):
    def __init__(self, make):
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.make = make
        self.sizes = []

    def training_step(self, batch, _):
        self.sizes.append(len(batch[0]))
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return self.make(self.parameters())


class Validated(Line):
    def validation_step(self, batch, _):
        self.log("seen", float(len(batch[0])))


def data():
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def two_phase(parameters):
    parameters = list(parameters)
    first = torch.optim.Adam(parameters, lr=1e-2)
    return TwoPhase(parameters, first=first, second=LBFGS, rule=AtEpoch(2), resort=NoResort())


def train(model, loaders, **options):
    torch.manual_seed(0)  # decides the order of mini-batches
    callback = ours.HomeStretch()
    trainer = lightning.Trainer(**{"max_epochs": 5, **QUIET, **options}, callbacks=[callback])
    if isinstance(loaders, lightning.LightningDataModule):
        trainer.fit(model, datamodule=loaders)
    else:
        trainer.fit(model, loaders)
    return trainer, callback


def test_minibatches_first_then_all_the_data_in_one():
    model = Line(two_phase)
    trainer, _ = train(model, ours.PhasedData(data(), batch_size=16), reload_dataloaders_every_n_epochs=1)
    assert model.sizes[:6] == [16, 16, 8] * 2
    assert set(model.sizes[6:]) == {40}
    assert trainer.callback_metrics["homestretch/phase"] == 2.0
    assert trainer.callback_metrics["homestretch/loss"] < 1e-2


def test_the_convex_phase_is_that_of_a_plain_loop():
    model = Line(lambda parameters: LBFGS(parameters))
    reference = nn.Linear(3, 1)
    reference.load_state_dict(model.net.state_dict())
    train(model, DataLoader(data(), batch_size=40), max_epochs=3)
    optimizer, (inputs, targets) = LBFGS(reference.parameters()), data().tensors

    def closure():
        loss = nn.functional.mse_loss(reference(inputs), targets)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert torch.equal(model.net.weight, reference.weight)


def test_training_ends_when_the_convex_phase_stops():
    model = Line(lambda parameters: LBFGS(parameters, target_loss=1e-3))
    trainer, callback = train(model, DataLoader(data(), batch_size=40), max_epochs=100)
    assert trainer.current_epoch < 100
    assert "target" in callback.stop
    assert trainer.optimizers[0].step.__func__ is LBFGS.step


def test_validation_data_are_optional():
    trainer, _ = train(
        Validated(two_phase), ours.PhasedData(data(), batch_size=16, validation=data()), reload_dataloaders_every_n_epochs=1
    )
    assert trainer.callback_metrics["seen"] == 40.0


def test_a_checkpoint_of_lightning_goes_on_in_the_second_phase(tmp_path):
    whole = Line(two_phase)
    start = whole.net.state_dict()
    start = {name: tensor.clone() for name, tensor in start.items()}
    options = {"reload_dataloaders_every_n_epochs": 1}
    train(whole, ours.PhasedData(data(), batch_size=40), max_epochs=5, **options)
    half = Line(two_phase)
    half.net.load_state_dict(start)
    trainer, _ = train(half, ours.PhasedData(data(), batch_size=40), max_epochs=4, **options)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest = Line(two_phase)
    again = lightning.Trainer(max_epochs=5, **QUIET, **options, callbacks=[ours.HomeStretch()])
    again.fit(rest, datamodule=ours.PhasedData(data(), batch_size=40), ckpt_path=tmp_path / "half.ckpt")
    assert again.optimizers[0].phase == "second"
    assert torch.equal(rest.net.weight, whole.net.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({}, "reload_dataloaders_every_n_epochs=1"),
    ],
)
def test_what_breaks_a_line_search_is_refused_at_the_start(options, message):
    with pytest.raises(ValueError, match=message):
        train(Line(two_phase), ours.PhasedData(data(), batch_size=16), **options)


def test_a_convex_phase_on_minibatches_is_refused():
    with pytest.raises(ValueError, match="3 batches an epoch"):
        train(Line(lambda parameters: LBFGS(parameters)), DataLoader(data(), batch_size=16))


def test_other_optimizers_are_refused():
    with pytest.raises(ValueError, match="must return one TwoPhase or one Descent, got SGD"):
        train(Line(lambda parameters: torch.optim.SGD(parameters)), DataLoader(data(), batch_size=40))


def test_batch_size_is_checked():
    with pytest.raises(ValueError, match="batch_size must be positive"):
        ours.PhasedData(data(), batch_size=0)
