from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from homestretch import LBFGS, AtEpoch, NoResort, TwoPhase
from homestretch.errors import HomestretchWarning
from homestretch.integrations import lightning as ours

lightning = pytest.importorskip("lightning")
from lightning.pytorch import callbacks as theirs  # noqa: E402
from lightning.pytorch.plugins.precision import MixedPrecision  # noqa: E402

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


class Clipped(Line):
    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clip_gradients(optimizer, 0.01, "norm")


class LateSchedule(lightning.Callback):
    """Begins a schedule of the learning rate when training has begun."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            self.schedule = torch.optim.lr_scheduler.StepLR(trainer.optimizers[0], 1)


class Validated(Line):
    def validation_step(self, batch, _):
        self.log("seen", float(len(batch[0])))


class Normalized(Line):
    def __init__(self, make):
        super().__init__(make)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


class Cycle(Line):
    """Asks for the number of steps, as schedules by the step do."""

    def configure_optimizers(self):
        optimizer, steps = super().configure_optimizers(), self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def data():
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def two_phase(parameters):
    parameters = list(parameters)
    first = torch.optim.Adam(parameters, lr=1e-2)
    return TwoPhase(parameters, first=first, second=LBFGS, rule=AtEpoch(2), resort=NoResort())


def open_end(parameters):
    parameters = list(parameters)
    return TwoPhase(parameters, first=torch.optim.Adam(parameters, lr=1e-3), second=LBFGS)


def train(model, loaders, callbacks=(), ckpt_path=None, **options):
    torch.manual_seed(0)  # decides the order of mini-batches
    callback = ours.HomeStretch()
    trainer = lightning.Trainer(**{"max_epochs": 5, **QUIET, **options}, callbacks=[callback, *callbacks])
    if isinstance(loaders, lightning.LightningDataModule):
        trainer.fit(model, datamodule=loaders, ckpt_path=ckpt_path)
    else:
        trainer.fit(model, loaders, ckpt_path=ckpt_path)
    return trainer, callback


def train_phased(model, callbacks=(), **options):
    """On mini-batches of 16, then on all the data."""
    phased = ours.PhasedData(data(), batch_size=16, validation=data() if isinstance(model, Validated) else None)
    return train(model, phased, callbacks, reload_dataloaders_every_n_epochs=1, **options)


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


def test_batch_norms_end_with_the_statistics_of_the_accepted_point():
    torch.manual_seed(0)
    model = Normalized(two_phase)
    train_phased(model, max_epochs=30)
    with torch.no_grad():
        seen = model.net[0](data().tensors[0])
    torch.testing.assert_close(model.net[1].running_mean, seen.mean(0))
    torch.testing.assert_close(model.net[1].running_var, seen.var(0))
    assert model.net[1].momentum == 0.1


def test_schedules_may_ask_for_the_number_of_steps():
    model = Cycle(two_phase)
    trainer, _ = train_phased(model)
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == 15
    assert model.sizes[:6] == [16, 16, 8] * 2
    assert set(model.sizes[6:]) == {40}


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


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
def test_a_checkpoint_of_the_validation_loop_goes_on(tmp_path):
    """Lightning resumes it with the end of its epoch, whose steps were made before."""
    options = {"check_val_every_n_epoch": 2, "enable_checkpointing": True}
    train_phased(Validated(two_phase), [theirs.ModelCheckpoint(tmp_path, filename="second")], max_epochs=3, **options)
    rest, saving = Validated(two_phase), theirs.ModelCheckpoint(tmp_path)
    trainer, _ = train_phased(rest, [saving], ckpt_path=tmp_path / "second.ckpt", max_epochs=6, **options)
    assert rest.sizes[:3] == [16, 16, 8]
    assert set(rest.sizes[3:]) == {40}
    assert (trainer.optimizers[0].phase, trainer.optimizers[0].epochs) == ("second", 5)


@pytest.mark.parametrize(
    ("options", "budget", "rule"),
    [({"max_epochs": 30}, 30.0, "paced-peak"), ({"max_epochs": -1, "max_steps": 3}, None, "gradient-norm-peak")],
)
def test_a_run_without_a_budget_is_planned_by_its_epochs(options, budget, rule):
    """The loss is convex, so the gradient norm shows no peak: the rule must know when the run ends."""
    trainer, _ = train_phased(Line(open_end), **options)
    assert (trainer.optimizers[0].budget, trainer.optimizers[0].rule.name) == (budget, rule)


def test_a_resumed_run_is_planned_by_its_new_end(tmp_path):
    trainer, _ = train_phased(Line(open_end), max_epochs=30, max_steps=9)
    trainer.save_checkpoint(tmp_path / "three.ckpt")
    trainer, _ = train_phased(Line(open_end), max_epochs=10, ckpt_path=tmp_path / "three.ckpt")
    assert (trainer.optimizers[0].budget, trainer.optimizers[0].epochs) == (10.0, 10)


def test_a_monitor_of_the_training_step_is_warned_about():
    with pytest.warns(HomestretchWarning, match=r"EarlyStopping monitors 'loss': .* monitor 'homestretch/loss'"):
        train_phased(Line(two_phase), [theirs.EarlyStopping("loss", strict=False)], max_epochs=1)


def test_other_monitors_are_not_warned_about():
    stopping = theirs.EarlyStopping("homestretch/loss", patience=50, check_on_train_epoch_end=True)
    trainer, _ = train_phased(Line(two_phase), [stopping, theirs.EarlyStopping("val_loss", strict=False)])
    assert stopping.best_score == trainer.callback_metrics["homestretch/loss"]


def test_a_method_alone_logs_too():
    trainer, _ = train(Line(lambda parameters: LBFGS(parameters)), DataLoader(data(), batch_size=40))
    record = trainer.optimizers[0].history[-1]
    logged = {name: float(trainer.callback_metrics[f"homestretch/{name}"]) for name in ("loss", "gradient_norm", "phase")}
    assert logged == pytest.approx({"loss": record.loss, "gradient_norm": record.gradient_norm, "phase": 2.0})


def test_schedules_may_begin_later():
    late = LateSchedule()
    trainer, _ = train_phased(Line(two_phase), [late])
    assert late.schedule.optimizer is trainer.optimizers[0]
    assert trainer.optimizers[0].phase == "second"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_train_batches": 0.5}, r"limit_train_batches=0\.5"),
        ({"limit_train_batches": 2}, r"limit_train_batches=2"),
        ({"val_check_interval": 2}, r"val_check_interval=2, more batches than .* check_val_every_n_epoch=None"),
        ({"plugins": [MixedPrecision("16-mixed", "cpu")]}, 'precision="16-mixed"'),
        ({"callbacks": [theirs.GradientAccumulationScheduler({0: 2})]}, "GradientAccumulationScheduler"),
        ({"callbacks": [theirs.StochasticWeightAveraging(1e-3)]}, "StochasticWeightAveraging"),
        ({"callbacks": [theirs.WeightAveraging()]}, "WeightAveraging"),
        ({"gradient_clip_val": 1.0}, "gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({}, "reload_dataloaders_every_n_epochs=1"),
    ],
)
def test_what_breaks_a_line_search_is_refused_at_the_start(options, message):
    with pytest.raises(ValueError, match=message):
        train(Line(two_phase), ours.PhasedData(data(), batch_size=16), **options)


def test_a_validation_by_batches_over_epochs_is_none_of_it():
    trainer, _ = train_phased(Validated(two_phase), val_check_interval=2, check_val_every_n_epoch=None)
    assert (trainer.optimizers[0].phase, trainer.callback_metrics["seen"]) == ("second", 40.0)


def test_a_loader_that_cannot_follow_the_phase_is_refused_at_the_start():
    model = Line(two_phase)
    with pytest.raises(ValueError, match="the data must change at the swap"):
        train(model, DataLoader(data(), batch_size=16), reload_dataloaders_every_n_epochs=1)
    assert model.sizes == []


class Follows(Line):
    """Its own loader follows the phase."""

    def train_dataloader(self):
        second = self.trainer.optimizers[0].phase == "second"
        return DataLoader(data(), batch_size=40 if second else 16)


def test_a_modules_own_loader_may_follow_the_phase():
    model = Follows(two_phase)
    train(model, None, reload_dataloaders_every_n_epochs=1)
    assert model.sizes[:6] == [16, 16, 8] * 2
    assert set(model.sizes[6:]) == {40}


@pytest.mark.filterwarnings("ignore:.*fast_dev_run.*")
def test_a_trial_run_is_let_through():
    trainer, _ = train_phased(Line(two_phase), fast_dev_run=True)
    assert trainer.optimizers[0].phase == "first"


def test_a_module_that_clips_is_refused():
    with pytest.raises(ValueError, match="configure_gradient_clipping"):
        train_phased(Clipped(two_phase))


def test_a_convex_phase_on_minibatches_is_refused():
    with pytest.raises(ValueError, match="3 batches an epoch"):
        train(Line(lambda parameters: LBFGS(parameters)), DataLoader(data(), batch_size=16))


def test_other_optimizers_are_refused():
    with pytest.raises(ValueError, match="must return one TwoPhase or one Descent, got SGD"):
        train(Line(lambda parameters: torch.optim.SGD(parameters)), DataLoader(data(), batch_size=40))


def test_phased_data_without_the_callback_are_refused():
    """Nobody would ask the rule: the run would be Adam's to its end, without a word."""
    trainer = lightning.Trainer(max_epochs=1, reload_dataloaders_every_n_epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"PhasedData needs the callback .*: give the Trainer callbacks=\[HomeStretch"):
        trainer.fit(Line(two_phase), datamodule=ours.PhasedData(data(), batch_size=16))


def test_batch_size_is_checked():
    with pytest.raises(ValueError, match="batch_size must be positive"):
        ours.PhasedData(data(), batch_size=0)
