from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from homestretch import (
    LBFGS,
    AtEpoch,
    ConjugateGradient,
    LeastSquares,
    LevenbergMarquardt,
    NewtonCG,
    NoResort,
    Objective,
    Plateau,
    Race,
    SelfScaledBroyden,
    TwoPhase,
    checkpoint,
    evaluate,
    fit,
)
from homestretch.errors import CheckpointError, NondeterministicLossError, UnsupportedError
from homestretch.history import EpochRecord, EventRecord, History
from homestretch.swap import Custom


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def data(count=60):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.stack([inputs.prod(1), inputs.sin().sum(1)], 1)


def settings(**options):
    return {"batch_size": 16, "rule": AtEpoch(4), "resort": NoResort(), "second": LBFGS, "seed": 3, **options}


def losses_of(result):
    return [r.loss for r in result.history.of(EpochRecord)]


def test_one_line_trains():
    model = network()
    result = fit(model, mse_loss, data(), epochs=10, **settings())
    assert result.swap_epoch == 4
    assert result.epochs == 10
    assert result.loss == losses_of(result)[-1] < losses_of(result)[3]
    assert result.loss == pytest.approx(evaluate(model, mse_loss, data())["loss"], abs=1e-14)
    assert "10 epochs" in result.stop


def test_a_budget_ends_the_run():
    result = fit(network(), mse_loss, data(), budget=12.5, **settings())
    assert 11.5 <= result.gradient_equivalents <= 13.5
    assert "budget" in result.stop


def test_the_first_phase_alone():
    result = fit(network(), mse_loss, data(), epochs=6, second=None, batch_size=16)
    assert result.swap_epoch is None
    assert result.gradient_equivalents == pytest.approx(6)


def test_a_stopped_convex_phase_ends_the_run_and_says_why():
    model = nn.Linear(3, 1).double()
    inputs = data()[0]
    result = fit(model, mse_loss, (inputs, inputs.sum(1, keepdim=True) + 1), epochs=200, **settings())
    assert result.stop.startswith("the convex phase stopped")
    assert result.epochs < 200
    assert result.loss < 1e-20


def test_validation_and_metrics_are_recorded_and_cost_nothing():
    def worst(outputs, targets):
        return (outputs - targets).abs().mean()

    result = fit(network(), mse_loss, data(), epochs=5, validation=data(20), metrics={"mae": worst}, second=None)
    metrics = result.history.of(EpochRecord)[-1].metrics
    assert set(metrics) == {"validation_loss", "validation_mae", "learning_rate"}
    assert result.gradient_equivalents == pytest.approx(5)


def test_callbacks_see_every_epoch_and_may_end_the_run():
    seen = []

    def callback(progress):
        seen.append((progress.epoch, progress.record.phase))
        return progress.epoch == 6

    result = fit(network(), mse_loss, data(), epochs=50, callbacks=[callback], **settings())
    assert [e for e, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[3][1] == "first"
    assert seen[4][1] == "second"
    assert "callback" in result.stop


def test_a_schedule_moves_in_the_first_phase_only():
    result = fit(
        network(),
        mse_loss,
        data(),
        epochs=8,
        first=lambda p: Adam(p, lr=1e-2),
        schedule=lambda o: CosineAnnealingLR(o, 8),
        **settings(),
    )
    rates = [r.metrics["learning_rate"] for r in result.history.of(EpochRecord) if "learning_rate" in r.metrics]
    assert len(rates) == 4
    assert rates == sorted(rates, reverse=True)


SECONDS = {
    "cg": ConjugateGradient,
    "lbfgs": LBFGS,
}


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize("killed_after", [2, 4, 7])
def test_a_resumed_run_equals_the_run_left_alone(second, killed_after, tmp_path):
    options = settings(second=SECONDS[second], schedule=lambda o: CosineAnnealingLR(o, 20), validation=data(20))
    alone = network()
    reference = fit(alone, mse_loss, data(), epochs=12, out=tmp_path / "alone", **options)

    class Killed(Exception):  # noqa: N818
        pass

    def kill(progress):
        if progress.epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        fit(network(), mse_loss, data(), epochs=12, out=tmp_path / "killed", callbacks=[kill], **options)
    model = network()
    result = fit(model, mse_loss, data(), epochs=12, out=tmp_path / "killed", resume=True, **options)
    assert losses_of(result) == losses_of(reference)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), alone.parameters(), strict=True))
    assert result.gradient_equivalents == reference.gradient_equivalents
    read = History.read(tmp_path / "killed" / "record.jsonl")
    assert [r.loss for r in read.of(EpochRecord)] == losses_of(reference)


def test_a_run_resumed_after_a_resort_equals_the_run_left_alone(tmp_path, return_after):
    def options():
        resort = return_after(4, retry_after=3)
        return settings(resort=resort, rule=AtEpoch(6))

    reference = fit(network(), mse_loss, data(), epochs=24, out=tmp_path / "alone", **options())
    assert "resort" in [e.name for e in reference.history.of(EventRecord)]
    back = next(e.epoch for e in reference.history.of(EventRecord) if e.name == "resort")
    for stop in (back - 1, back, back + 1, back + 5):
        place = tmp_path / f"stopped-{stop}"
        fit(network(), mse_loss, data(), epochs=stop, out=place, **options())
        result = fit(network(), mse_loss, data(), epochs=24, out=place, resume=True, **options())
        assert losses_of(result) == losses_of(reference)


@pytest.mark.parametrize("cut", [3, 8])
def test_a_resumed_run_may_have_a_larger_budget(tmp_path, cut):
    reference = fit(network(), mse_loss, data(), budget=16, **settings())
    fit(network(), mse_loss, data(), budget=cut, out=tmp_path, **settings())
    result = fit(network(), mse_loss, data(), budget=16, out=tmp_path, resume=True, **settings())
    if cut == 3:
        assert losses_of(result) == losses_of(reference)
        assert result.gradient_equivalents == reference.gradient_equivalents
    # after the swap the smaller budget has cut a line search short, from where another path goes on
    assert result.loss < losses_of(result)[3]
    assert 14.0 < result.gradient_equivalents <= 17.0


@pytest.mark.parametrize("budget", [6.0, 9.3, 12.5])
def test_a_budget_is_overspent_by_one_evaluation_at_most(budget):
    result = fit(network(), mse_loss, data(), budget=budget, **settings())
    assert result.gradient_equivalents <= budget + 1.0 + 1e-9
    assert "budget" in result.stop


def test_a_schedule_goes_on_where_it_stood_after_a_resort(return_after):
    result = fit(
        network(),
        mse_loss,
        data(),
        epochs=12,
        first=lambda p: Adam(p, lr=1e-2),
        schedule=lambda o: StepLR(o, 1, gamma=0.5),
        **settings(resort=return_after(3)),
    )
    rates = {r.epoch: r.metrics["learning_rate"] for r in result.history.of(EpochRecord) if r.phase == "first"}
    assert list(rates) == [1, 2, 3, 4, 8, 9, 10, 11, 12]
    assert list(rates.values()) == pytest.approx([1e-2 * 0.5**i for i in range(9)])


def test_a_schedule_takes_the_steps_of_a_race_that_the_first_phase_won(return_after):
    class Standing(LBFGS):
        """Goes nowhere."""

        def step(self, closure=None):
            before = [p.detach().clone() for p in self.parameters]
            super().step(closure)
            with torch.no_grad():
                for p, b in zip(self.parameters, before, strict=True):
                    p.copy_(b)
            return 1.0

    result = fit(
        network(),
        mse_loss,
        data(),
        budget=30,
        schedule=lambda o: StepLR(o, 1, gamma=0.5),
        **settings(resort=Race(0.1), second=Standing),
    )
    rates = [r.metrics["learning_rate"] for r in result.history.of(EpochRecord)]
    assert rates[:4] == pytest.approx([1e-3 * 0.5**i for i in range(4)])
    assert rates[4:7] == pytest.approx([1e-3 * 0.5**3] * 3)  # it stands still in the race of three epochs
    assert rates[7] == pytest.approx(1e-3 * 0.5**7)


@pytest.mark.parametrize("change", ["model", "rule", "schedule", "first"])
def test_the_checkpoint_of_another_run_is_refused_by_name(tmp_path, change):
    fit(network(), mse_loss, data(), epochs=2, out=tmp_path, **settings())
    model = nn.Linear(3, 2).double() if change == "model" else network()
    options = settings()
    if change == "rule":
        options["rule"] = Plateau()
    elif change == "schedule":
        options["schedule"] = lambda o: StepLR(o, 1)
    elif change == "first":
        options["first"] = lambda p: Adam([{"params": p[:1]}, {"params": p[1:]}])
    with pytest.raises(CheckpointError, match=f"the checkpoint in {tmp_path} is that of another run"):
        fit(model, mse_loss, data(), epochs=4, out=tmp_path, resume=True, **options)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fit(network(), mse_loss, data(), epochs=2, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "epochs, budget or both"),
        ({"epochs": 0}, "epochs must be a whole number, 1 or more"),
        ({"epochs": 1, "resume": True}, "resume needs out"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), mse_loss, data(), **options)


NURSERY = """
import json, os, random, signal, sys, time
import torch
from torch import nn
from torch.nn.functional import mse_loss
from homestretch import LBFGS, AtEpoch, NoResort, checkpoint, fit

torch.set_num_threads(1)
folder, times = sys.argv[1], int(sys.argv[2])

def train(epochs, **options):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    inputs = torch.linspace(-1, 1, 180, dtype=torch.float64).view(60, 3)
    fit(model, mse_loss, (inputs, inputs[:, :2] ** 2), epochs=epochs, batch_size=16, rule=AtEpoch(20), resort=NoResort(),
        second=lambda p: LBFGS(p, rounding=0.0), **options)

def child(told):
    resume = any(os.path.exists(os.path.join(folder, n)) for n in (checkpoint.NAME, checkpoint.PREVIOUS))
    train(100000, out=folder, resume=resume, callbacks=[lambda progress: os.write(told, b"%d\\n" % progress.epoch) < 0])

train(22)  # what torch imports when it is first needed is imported once
moments, lost, done = random.Random(times), [], 0
for _ in range(times):
    read, told = os.pipe()
    run = os.fork()
    if run == 0:
        try:
            child(told)
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(1)
    os.close(told)
    with os.fdopen(read) as stream:
        lines = [stream.readline()] if moments.random() < 0.8 else []  # the others are killed at their start, or before it
        time.sleep(0.3 * moments.random())
        os.kill(run, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(run, 0)[1]), "the run ended by itself"
        epochs = [int(line) for line in lines + stream.readlines()]
    if epochs:
        lost.append(done + 1 - epochs[0])
        done = epochs[-1]
print(json.dumps([lost, done]))
"""


def kill_at_random_moments(folder, times):
    """Start, kill -9, go on from the checkpoint, from one warm process; the epochs that each kill cost, and the last one."""
    command = [sys.executable, "-c", textwrap.dedent(NURSERY), str(folder), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked from a warm process")
@pytest.mark.parametrize("times", [5, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_kill_loses_at_most_one_epoch(tmp_path, times):
    lost, done = kill_at_random_moments(tmp_path, times)
    assert done > 0
    assert all(-1 <= epochs <= 1 for epochs in lost)
    assert checkpoint.load(tmp_path)["records"] > 0
    losses = [r.loss for r in History.read(tmp_path / "record.jsonl").of(EpochRecord)][:done]
    reference = fit_of_the_nursery(done)
    assert losses == reference


def fit_of_the_nursery(epochs):
    """The losses of the same run left alone."""
    model = network()
    inputs = torch.linspace(-1, 1, 180, dtype=torch.float64).view(60, 3)
    options = settings(rule=AtEpoch(20), second=lambda p: LBFGS(p, rounding=0.0), seed=0)
    return losses_of(fit(model, mse_loss, (inputs, inputs[:, :2] ** 2), epochs=epochs, **options))


def test_a_checkpoint_is_not_written_over(tmp_path):
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    record = (tmp_path / "record.jsonl").read_text()
    with pytest.raises(CheckpointError, match="would be lost: go on with it by resume=True"):
        fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    with pytest.raises(ValueError, match="gradient_norm must be one of"):
        fit(network(), mse_loss, data(), epochs=5, out=tmp_path, resume=True, **settings(gradient_norm="exat"))
    assert (tmp_path / "record.jsonl").read_text() == record


def test_a_record_shorter_than_the_checkpoint_is_refused(tmp_path):
    fit(network(), mse_loss, data(), epochs=3, out=tmp_path, **settings())
    record = tmp_path / "record.jsonl"
    record.write_text("\n".join(record.read_text().splitlines()[:2]) + "\n")
    with pytest.raises(CheckpointError, match="holds 2 records, the checkpoint was written after"):
        fit(network(), mse_loss, data(), epochs=5, out=tmp_path, resume=True, **settings())


def test_a_schedule_that_watches_the_loss_gets_that_of_each_raced_epoch():
    class FirstWins(Race):
        """As if the convex phase had found nothing."""

        def settle(self, first, second):
            return super().settle(first, [second[0], (second[-1][0], second[0][1])])

    result = fit(
        network(), mse_loss, data(), epochs=30, first=lambda p: Adam(p, lr=3e-3),
        schedule=lambda o: ReduceLROnPlateau(o, patience=2, threshold=0.0),
        **settings(resort=FirstWins(share=0.2, last_stretch=0.0), rule=AtEpoch(6)),
    )  # fmt: skip
    losses = losses_of(result)
    assert "race" in [e.name for e in result.history.of(EventRecord)]
    assert losses == sorted(losses, reverse=True)
    assert result.optimizer.first.param_groups[0]["lr"] == 3e-3


def test_validation_in_train_mode_sees_statistics_of_the_present_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).double()
    result = fit(model, mse_loss, data(), epochs=20, validation=data(), mode="train", micro_batch=60, **settings())
    last = result.history.of(EpochRecord)[-1]
    assert last.phase == "second"
    assert last.metrics["validation_loss"] == pytest.approx(evaluate(model, mse_loss, data())["loss"], rel=1e-9)
    assert last.metrics["validation_loss"] == pytest.approx(result.loss, rel=0.05)


def test_a_model_of_several_dtypes_is_validated():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(3, 4), nn.Linear(4, 2).double()

        def forward(self, x):
            return self.other(torch.tanh(self.one(x)).double())

    x, y = data()
    both = (x.float(), y)
    result = fit(Mixed(), mse_loss, both, epochs=6, validation=both, **settings())
    assert result.history.of(EpochRecord)[-1].metrics["validation_loss"] < 10.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": {"a": mse_loss}}, ValueError, "metrics are evaluated on validation data"),
        ({"second": LevenbergMarquardt}, UnsupportedError, r"LeastSquares\(lambda model, p: model\(p\[0\]\) - p\[1\]"),
        ({"first": Adam([nn.Parameter(torch.ones(1))])}, TypeError, "first must be a function that makes an optimizer"),
        ({"callbacks": print}, TypeError, "callbacks must be a list of functions, got builtin_function_or_method"),
        ({"callbacks": [3]}, TypeError, "callbacks must hold functions alone, got 3"),
        ({"epochs": "3"}, ValueError, "epochs must be a whole number, 1 or more, got '3'"),
        ({"epochs": 2.5}, ValueError, "epochs must be a whole number"),
        ({"budget": "3"}, TypeError, r"budget must be a number, got '3' \(str\)"),
        ({"budget": float("inf")}, ValueError, "budget must be a finite number above 0"),
        ({"seed": "a"}, TypeError, "seed must be a whole number, got 'a'"),
        ({"save_every": "a"}, TypeError, "save_every must be a number"),
        ({"schedule": StepLR(Adam([nn.Parameter(torch.ones(1))]), 1)}, TypeError, "schedule must be a function .*, got StepLR"),
        ({"schedule": lambda o: None}, TypeError, "schedule must return a learning-rate schedule, got NoneType"),
        ({"metrics": [mse_loss], "validation": data()}, TypeError, "metrics must map names to functions, got list"),
        ({"metrics": {"a": 3}, "validation": data()}, TypeError, "metrics must hold functions alone, got 3"),
        ({"metrics": {"loss": mse_loss}, "validation": data()}, ValueError, "metrics: the name 'loss' is taken"),
        ({"metrics": {"a": lambda o, t: None}, "validation": data()}, TypeError, r"metrics\['a'\] must be a number, got None"),
        ({"validation": (data()[0][:0],) * 2}, ValueError, "^validation: data must hold at least one sample"),
        ({"validation": data()[0].numpy()}, TypeError, "^validation: data must be a pair of tensors"),
    ],
)
def test_what_would_be_ignored_or_fail_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        fit(network(), mse_loss, data(), **{"epochs": 3, **options})


def test_levenberg_marquardt_resumes_bit_for_bit(tmp_path):
    """How Jacobians are made is not found out, and paid for, again."""

    def problem():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        points = torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(1)
        return model, LeastSquares(lambda m, p: m(p) - torch.sin(3.0 * p), model, points)

    options = {"rule": AtEpoch(4), "second": LevenbergMarquardt, "evidence": None}
    reference = fit(*problem(), epochs=9, out=tmp_path / "alone", **options)
    fit(*problem(), epochs=6, out=tmp_path / "stopped", **options)
    result = fit(*problem(), epochs=9, out=tmp_path / "stopped", resume=True, **options)
    assert losses_of(result) == losses_of(reference)
    assert result.gradient_equivalents == reference.gradient_equivalents


def test_epochs_are_all_made_whatever_they_cost():
    """They are the budget that rules plan with, and no bound: a run gone on with for more is the run left alone."""
    result = fit(network(), mse_loss, data(), epochs=10, **settings(second=NewtonCG))
    assert (result.epochs, result.optimizer.budget, result.optimizer.planned) == (10, 10.0, True)
    assert result.gradient_equivalents > 15.0


def test_the_end_of_the_budget_is_no_place_to_swap():
    result = fit(network(), mse_loss, data(), budget=4, **settings())
    assert result.swap_epoch is None
    assert result.gradient_equivalents == pytest.approx(4.0)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_numbers_of_numpy_in_the_settings_can_be_gone_on_with(tmp_path, kind):
    def go(epochs, resume):
        first = lambda p: Adam(p, lr=np.float64(1e-3))  # noqa: E731
        rule = Custom(lambda seen: seen[-1].epoch >= 4, "mine")
        options = settings(first=first, rule=rule, schedule=lambda o: CosineAnnealingLR(o, 20, eta_min=np.float64(1e-5)))
        return fit(network(), mse_loss, data(), epochs=kind(epochs), budget=kind(99), out=tmp_path, resume=resume, **options)

    go(3, resume=False)
    go(6, resume=True)
    assert go(8, resume=True).epochs == 8


class Noisy(nn.Module):
    """Draws random numbers in every pass."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return nn.functional.dropout(self.inner(x), 0.2, training=True)


def test_a_run_refused_at_the_swap_goes_on_without_one(tmp_path):
    with pytest.raises(NondeterministicLossError):
        fit(Noisy(), mse_loss, data(), epochs=8, out=tmp_path, **settings())
    rest = {"batch_size": 16, "resort": NoResort(), "seed": 3, "second": None}
    result = fit(Noisy(), mse_loss, data(), epochs=8, out=tmp_path, resume=True, **rest)
    assert (result.epochs, result.swap_epoch) == (8, None)
    assert [r.epoch for r in result.history.of(EpochRecord)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"first": lambda p: SGD(p, lr=0.1)}, "Adam as first.*is SGD"),
        ({"second": ConjugateGradient}, "lbfgs.*conjugate-gradient"),
    ],
)
def test_another_optimizer_is_refused_by_both_names(tmp_path, change, names):
    fit(network(), mse_loss, data(), epochs=6, out=tmp_path, **settings())
    with pytest.raises(CheckpointError, match=names):
        fit(network(), mse_loss, data(), epochs=8, out=tmp_path, resume=True, **settings(**change))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(2, 1)

    def forward(self, a, b):
        return self.net(torch.cat([a, b], 1))


def by_name(model, batch):
    a, b, y = batch
    return model(a, b), y


def test_an_objective_of_the_users_own_is_taken_with_its_batches():
    x, y = torch.linspace(-1, 1, 60).view(60, 1), torch.linspace(0, 1, 60).view(60, 1)
    model = TwoInputs()
    objective = Objective(model, nn.functional.mse_loss, (x, x**2, y), batch_size=20, compute=by_name)
    result = fit(
        model, objective, epochs=12, rule=AtEpoch(4), validation=(x, x**2, y), metrics={"twice": lambda o, t: 2.0 * len(o)}
    )
    assert result.swap_epoch == 4
    last = result.history.of(EpochRecord)[-1]
    assert last.metrics["validation_loss"] == pytest.approx(objective.loss(), rel=1e-5)
    assert last.metrics["validation_twice"] == 120.0


@pytest.mark.parametrize(
    "extra", [{"data": (torch.zeros(2, 1), torch.zeros(2, 1))}, {"batch_size": 4}, {"mode": "train"}, {"dropout": "fixed"}]
)
def test_what_belongs_to_an_objective_is_refused_beside_it(extra):
    model = nn.Linear(1, 1)
    objective = Objective(model, nn.functional.mse_loss, (torch.zeros(2, 1), torch.zeros(2, 1)))
    with pytest.raises(ValueError, match="the Objective holds its data"):
        fit(model, objective, epochs=1, **extra)
    with pytest.raises(ValueError, match="model must be the module"):
        fit(nn.Linear(1, 1), objective, epochs=1)


def test_a_record_is_kept_in_one_place(tmp_path):
    with pytest.raises(ValueError, match=r"history: a run with out keeps its record there"):
        fit(network(), mse_loss, data(), epochs=3, out=tmp_path / "run", history=History(tmp_path / "own.jsonl"))


def test_what_lies_at_the_wrong_place_is_told_where_it_belongs(tmp_path):
    model, x = nn.Linear(1, 1), torch.linspace(-1, 1, 40).view(40, 1)
    objective = Objective(model, nn.functional.mse_loss, (x, x))
    with pytest.raises(TypeError, match=r"data is an objective, .*: give it alone, as in fit\(model, objective\)"):
        fit(model, nn.functional.mse_loss, objective, epochs=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"out must be a folder, got .*file, which is a file"):
        fit(model, nn.functional.mse_loss, (x, x), epochs=2, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""


def test_groups_in_another_order_and_the_reason_of_no_swap():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.linspace(-1, 1, 40).view(40, 1)

    def first(parameters):
        weights, biases = ([p for p in parameters if p.ndim == d] for d in (2, 1))
        return torch.optim.AdamW([{"params": weights}, {"params": biases, "weight_decay": 0.0}], lr=1e-2)

    swapped = fit(model, nn.functional.mse_loss, (x, x**3), epochs=20, batch_size=10, first=first, rule=AtEpoch(10))
    assert swapped.swap_epoch == 10
    kept = fit(model, nn.functional.mse_loss, (x, x**3), epochs=3, batch_size=10, first=first, rule=AtEpoch(10))
    assert "3" in kept.swap_reason
    assert "10" in kept.swap_reason
    assert "optimizer" not in repr(kept)
    with pytest.raises(ValueError, match="of 4 it lacks 2, and it has 0 others"):
        fit(model, nn.functional.mse_loss, (x, x**3), epochs=3, first=lambda p: torch.optim.Adam(p[:2]))


@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        (LevenbergMarquardt, UnsupportedError, "needs residuals"),
        (SelfScaledBroyden, ValueError, "at most 6000, got 7501"),
        ("l-bfgs", ValueError, "second=homestretch.LBFGS"),
        ("self_scaled_broyden", ValueError, "second=homestretch.SelfScaledBroyden"),
    ],
)
def test_a_method_that_cannot_serve_is_refused_before_the_first_epoch(second, error, message):
    model = nn.Sequential(nn.Linear(1, 2500), nn.Tanh(), nn.Linear(2500, 1))
    with pytest.raises(error, match=message):
        fit(model, nn.functional.mse_loss, (torch.zeros(4, 1), torch.zeros(4, 1)), epochs=50, second=second)


def test_two_phases_say_why_the_convex_one_ended():
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 40).view(40, 1)
    objective = Objective(model, nn.functional.mse_loss, (x, 2.0 * x))
    optimizer = TwoPhase(
        model.parameters(), objective, first=torch.optim.Adam(model.parameters()), rule=AtEpoch(2), resort=NoResort()
    )
    seen = []
    for _ in range(60):
        for closure in optimizer.epoch():
            optimizer.step(closure)
        seen.append(optimizer.stop_reason)
    assert seen[0] is None
    assert seen[-1] is optimizer.second.stop_reason is not None


@pytest.mark.parametrize(("budget", "batch_size"), [(60, 64), (60, 512), (200, 64)])
def test_a_regression_whose_norm_only_falls_is_brought_to_its_minimum(budget, batch_size):
    torch.manual_seed(5)
    x = torch.randn(1000, 10)
    y = (torch.sigmoid(x @ torch.randn(10)) > torch.rand(1000)).float().view(-1, 1)
    loss = nn.functional.binary_cross_entropy_with_logits
    model, best = nn.Linear(10, 1), nn.Linear(10, 1)
    LBFGS(best.parameters()).minimize(Objective(best, loss, (x, y)), 100)
    result = fit(model, loss, (x, y), budget=budget, batch_size=batch_size)
    assert result.swap_epoch is not None
    with torch.no_grad():
        assert loss(model(x), y) <= 1.0001 * loss(best(x), y)


@pytest.mark.parametrize(
    ("name", "hint"), [("rulle", "did you mean rule?"), ("typo", "it passes on decoupled_decay, evidence")]
)
def test_an_argument_of_no_known_name_is_refused_by_fit(name, hint):
    with pytest.raises(TypeError, match=rf"fit\(\) takes no argument '{name}': .*{re.escape(hint)}"):
        fit(network(), mse_loss, data(), epochs=2, **{name: 1})
    with pytest.raises(TypeError, match=rf"fit\(\) takes no argument '{name}'"):
        fit(network(), mse_loss, data(), **{name: 1})  # what it would take in the place of epochs is not known yet
