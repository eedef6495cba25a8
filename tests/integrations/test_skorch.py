from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EpochScoring, GradientNormClipping
from torch import nn
from torch.utils.data import WeightedRandomSampler

from homestretch import LBFGS, AtEpoch, NoResort, TwoPhase
from homestretch.history import EpochRecord
from homestretch.integrations.skorch import TwoPhaseClassifier, TwoPhaseRegressor, two_phase

OPTIONS = {"optimizer__second": LBFGS, "optimizer__rule": AtEpoch(2), "optimizer__resort": NoResort(), "verbose": 0}


class Sizes(nn.Linear):
    """A linear model that notes how many rows it is given in training."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__(3, outputs, dtype=torch.float64)
        self.sizes: list[int] = []

    def forward(self, rows):
        if self.training:
            self.sizes.append(len(rows))
        return super().forward(rows)


class Witness(Callback):
    """Notes in the history which epochs it sees end."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", len(net.history))


class Noisy(Sizes):
    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Dropout(0.2)


class Normalized(Sizes):
    """With a batch norm behind a layer that it sees move."""

    def __init__(self) -> None:
        super().__init__(outputs=8)
        self.rest = nn.Sequential(nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, rows):
        return self.rest(super().forward(rows))


def data(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.random.default_rng(0).standard_normal((count, 3))
    return inputs, inputs.sum(1, keepdims=True)


def test_minibatches_first_then_all_the_data_in_one():
    net = TwoPhaseRegressor(Sizes, lr=1e-2, max_epochs=8, batch_size=16, train_split=None, **OPTIONS)
    net.fit(*data())
    assert net.module_.sizes[:6] == [16, 16, 8] * 2
    assert set(net.module_.sizes[6:]) == {40}
    assert net.history[:, "phase"] == [1, 1, *[2] * (len(net.history) - 2)]
    assert net.history[-1, "train_loss"] < 1e-10
    assert isinstance(net.optimizer_, TwoPhase)


@pytest.mark.parametrize("module", [Normalized, Sizes])
def test_the_training_loss_is_that_of_the_accepted_points(module):
    """So are the predictions that are scored, and the statistics of batch norms by which predict evaluates."""
    inputs, targets = data(200)[0], np.sin(data(200)[1])
    torch.manual_seed(0)
    score = EpochScoring("neg_mean_squared_error", on_train=True, name="score")
    net = TwoPhaseRegressor(module, lr=1e-2, max_epochs=30, batch_size=50, train_split=None, callbacks=[score], **OPTIONS)
    net.fit(inputs, targets)
    accepted = [record.loss for record in net.optimizer_.history.of(EpochRecord) if record.phase == "second"]
    assert len(accepted) > 10
    assert [net.history[2:, name] for name in ("train_loss", "phase")] == [pytest.approx(accepted), [2] * len(accepted)]
    assert net.history[2:, "score"] == pytest.approx([-loss for loss in accepted])
    assert np.mean((net.predict(inputs) - targets) ** 2) == pytest.approx(accepted[-1], rel=0.02)


def test_the_fit_ends_when_the_convex_phase_stops():
    net = TwoPhaseRegressor(Sizes, lr=1e-2, max_epochs=400, batch_size=40, train_split=None, **OPTIONS)
    net.fit(*data())
    stop = dict(net.callbacks_)["homestretch"].stop_
    assert len(net.history) < 400
    assert stop.startswith("LBFGS stopped: ")


def test_every_callback_sees_every_epoch_and_no_other(capsys):
    net = TwoPhaseRegressor(
        Sizes, lr=1e-2, max_epochs=400, batch_size=40, train_split=None, callbacks=[Witness()], **OPTIONS | {"verbose": 1}
    )
    net.fit(*data())
    made = net.optimizer_.epochs
    assert made < 400
    assert net.history[:, ("epoch", "seen")] == [(epoch, epoch) for epoch in range(1, made + 1)]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row and row[0].isdigit()] == [str(epoch) for epoch in range(1, made + 1)]


def test_a_fit_that_has_stopped_may_be_gone_on_with():
    net = TwoPhaseRegressor(Sizes, lr=1e-2, max_epochs=400, batch_size=40, train_split=None, **OPTIONS)
    net.fit(*data())
    made = len(net.history)
    net.partial_fit(*data(), epochs=50)
    assert made < len(net.history) < made + 50
    assert dict(net.callbacks_)["homestretch"].stop_


def test_other_data_in_the_convex_phase_are_noticed():
    net = TwoPhaseRegressor(Sizes, lr=1e-2, max_epochs=6, batch_size=40, train_split=None, **OPTIONS)
    inputs, targets = data()
    net.fit(inputs, targets)
    expected = np.mean((net.predict(inputs) - targets - 1.0) ** 2)
    net.partial_fit(inputs, targets + 1.0, epochs=1)
    assert net.optimizer_.second.start_loss == pytest.approx(expected)
    assert net.history[-1, "train_loss"] < expected


def test_a_run_without_a_budget_is_planned_by_its_epochs():
    """The loss is convex, so the gradient norm shows no peak: the rule must know when the run ends."""
    net = TwoPhaseRegressor(Sizes, lr=1e-3, max_epochs=30, batch_size=16, train_split=None, optimizer__second=LBFGS, verbose=0)
    net.fit(*data())
    assert (net.optimizer_.budget, net.optimizer_.rule.name) == (30.0, "paced-peak")


def test_a_budget_of_the_user_is_kept():
    net = TwoPhaseRegressor(Sizes, max_epochs=2, batch_size=16, train_split=None, optimizer__budget=20.0, verbose=0)
    assert net.fit(*data()).optimizer_.budget == 20.0


def test_clipping_is_refused():
    with pytest.raises(ValueError, match=r"does not take GradientNormClipping \(callback 'clip'\)"):
        TwoPhaseRegressor(Sizes, callbacks=[("clip", GradientNormClipping(1.0))]).fit(*data())
    TwoPhaseRegressor(Sizes, max_epochs=1, verbose=0, callbacks=[GradientNormClipping()]).fit(*data())


@pytest.mark.parametrize("callbacks", [{"callbacks": "disable"}, {"callbacks__homestretch": None}])
def test_a_fit_without_its_callback_is_refused(callbacks):
    with pytest.raises(ValueError, match="TwoPhaseRegressor needs its callback HomeStretch"):
        TwoPhaseRegressor(Sizes, verbose=0, **callbacks).fit(*data())


@pytest.mark.parametrize("name", ["sampler", "batch_sampler"])
def test_samplers_are_refused(name):
    sampler = WeightedRandomSampler([1.0] * 40, 40)
    with pytest.raises(ValueError, match=rf"iterator_train__{name}=WeightedRandomSampler: .* weight them in the criterion"):
        TwoPhaseRegressor(Sizes, verbose=0, train_split=None, **{f"iterator_train__{name}": sampler}).fit(*data())


@pytest.mark.parametrize(("first", "named"), [({}, r"torch\.optim\.Adam"), ({"optimizer__first": torch.optim.SGD}, "SGD")])
def test_arguments_of_the_first_optimizer_are_sent_there(first, named):
    with pytest.raises(TypeError, match=rf"optimizer__first=functools\.partial\({named}, weight_decay=0\.1\)"):
        TwoPhaseRegressor(Sizes, verbose=0, optimizer__weight_decay=0.1, **first).fit(*data())


def test_clones_searches_and_repeated_fits_begin_afresh():
    net = TwoPhaseRegressor(Sizes, lr=1e-2, max_epochs=4, batch_size=16, train_split=None, **OPTIONS)
    for _ in range(2):
        torch.manual_seed(0)
        net.fit(*data())
        assert net.history[:, "phase"] == [1, 1, 2, 2]
    weight = net.module_.weight.clone()
    torch.manual_seed(0)
    assert torch.equal(clone(net).fit(*data()).module_.weight, weight)
    search = GridSearchCV(net, {"lr": [1e-3, 1e-2]}, cv=2, scoring="r2", refit=False).fit(*data())
    assert len(search.cv_results_["params"]) == 2


def test_a_classifier_too():
    inputs, _ = data(60)
    labels = (inputs[:, 0] + 0.3 * inputs[:, 1] > 0).astype(np.int64)
    torch.manual_seed(0)
    net = TwoPhaseClassifier(
        nn.Linear, module__in_features=3, module__out_features=2, module__dtype=torch.float64,
        criterion=nn.CrossEntropyLoss, max_epochs=30, batch_size=16, **OPTIONS,
    )  # fmt: skip
    net.fit(inputs, labels)
    assert net.score(inputs, labels) > 0.95
    assert net.history[-1, "valid_acc"] > 0.7


def test_the_factory_copies_its_rule_and_takes_the_learning_rate():
    p = nn.Parameter(torch.ones(2))
    rule = AtEpoch(3)
    optimizer = two_phase([{"params": [p]}], lr=0.5, first=torch.optim.SGD, rule=rule, second=LBFGS)
    assert optimizer.rule is not rule
    assert isinstance(optimizer.first, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_dropout_is_warned_about():
    net = TwoPhaseRegressor(Noisy, max_epochs=0, verbose=0, train_split=None)
    with pytest.warns(UserWarning, match=r"dropout \(noise\)"):
        net.fit(*data())


def test_partial_fits_are_no_plan():
    """Their end is open, and the rule must be able to swap after any number of them."""
    net = TwoPhaseRegressor(Sizes, max_epochs=3, batch_size=16, train_split=None, optimizer__second=LBFGS, verbose=0)
    for _ in range(3):
        net.partial_fit(*data())
    assert (net.optimizer_.budget, net.optimizer_.rule.name) == (None, "gradient-norm-peak")


def test_a_fit_that_starts_warm_plans_on():
    net = TwoPhaseRegressor(Sizes, max_epochs=3, batch_size=16, train_split=None, warm_start=True, verbose=0)
    net.fit(*data())
    net.fit(*data())
    assert net.optimizer_.budget == 6.0
    assert net.optimizer_.rule.name == "paced-peak"


def test_parameters_of_a_planned_fit_load(tmp_path):
    make = {"max_epochs": 3, "batch_size": 16, "train_split": None, "verbose": 0}
    net = TwoPhaseRegressor(Sizes, **make).fit(*data())
    net.save_params(f_params=tmp_path / "net", f_optimizer=tmp_path / "optimizer")
    again = TwoPhaseRegressor(Sizes, **make).initialize()
    again.load_params(f_params=tmp_path / "net", f_optimizer=tmp_path / "optimizer")
    assert again.optimizer_.budget == 3.0
