from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import OneCycleLR

from homestretch import (
    LBFGS,
    AtEpoch,
    BudgetAware,
    ConjugateGradient,
    GaussNewtonCG,
    GoldenSection,
    LeastSquares,
    LiteralPeak,
    Never,
    NewtonCG,
    NoResort,
    Objective,
    TwoPhase,
)
from homestretch.errors import HomestretchWarning, NonFiniteError, UnsupportedError
from homestretch.history import DecisionRecord, EpochRecord, EventRecord, IterationRecord
from homestretch.objective.redraw import UniformRedraw
from homestretch.resort import MeasuredResort
from homestretch.swap import AtStep, Custom


def test_the_three_lines_train_in_two_phases(setting, run):
    _model, objective, optimizer = setting()
    run(optimizer, 8)
    phases = [r.phase for r in optimizer.history.of(EpochRecord)]
    assert phases == ["first"] * 3 + ["second"] * 5
    assert optimizer.swap_epoch == 3
    losses = [r.loss for r in optimizer.history.of(EpochRecord)]
    assert losses[-1] < losses[3] < losses[2]
    assert losses[-1] == pytest.approx(objective.loss(), abs=1e-14)
    assert len(optimizer.history.of(IterationRecord)) == 5
    assert next(e for e in optimizer.history.of(EventRecord) if e.name == "swap").message


def test_the_first_phase_is_the_first_optimizer_bit_for_bit(network, data, setting, run):
    model, _, optimizer = setting(rule=Never())
    run(optimizer, 4)
    plain = network()
    objective = Objective(plain, mse_loss, data(), batch_size=16)
    adam = Adam(plain.parameters(), lr=1e-2)
    for epoch in range(1, 5):
        for closure in objective.minibatches(epoch):
            adam.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def algorithm_1(model, data, epochs, factor=0.9):
    """The paper's Algorithm 1, written down once more from its pseudo-code."""
    objective = Objective(model, mse_loss, data, batch_size=16)
    adam_optimizer = Adam(model.parameters(), lr=1e-2)
    cg = ConjugateGradient(model.parameters(), "polak-ribiere", GoldenSection())
    adam, gn_max, losses = True, 0.0, []
    for epoch in range(1, epochs + 1):
        if adam:
            mean = [torch.zeros_like(p) for p in model.parameters()]
            loss = 0.0
            for closure in objective.minibatches(epoch):
                loss += closure.fraction * float(adam_optimizer.step(closure))
                for m, p in zip(mean, model.parameters(), strict=True):
                    m += closure.fraction * p.grad
            gn = math.sqrt(sum(float((m * m).sum()) for m in mean))
            gn_max = max(gn, gn_max)
            adam = gn > gn_max * factor
            losses.append(loss)
        else:
            losses.append(cg.step(objective))
    return losses


def test_the_literal_rule_is_algorithm_1(network, data, setting, run):
    _, _, optimizer = setting(rule=LiteralPeak(), second=lambda p: ConjugateGradient(p, "polak-ribiere", GoldenSection()))
    optimizer.second.adopt = lambda first: "nothing is taken over, as in the paper"
    run(optimizer, 12)
    assert optimizer.phase == "second"
    found = [r.loss for r in optimizer.history.of(EpochRecord)]
    assert found == pytest.approx(algorithm_1(network(), data(), 12), rel=1e-12)


@pytest.mark.parametrize("kind", ["running-mean", "probe", "exact"])
def test_gradient_norms(setting, run, kind):
    model, objective, optimizer = setting(rule=Never(), gradient_norm=kind, probe_samples=60)
    run(optimizer, 1)
    record = optimizer.history.of(EpochRecord)[0]
    assert record.gradient_norm_kind == kind
    assert record.gradient_equivalents == pytest.approx(1.0 if kind == "running-mean" else 2.0)
    if kind != "running-mean":
        objective()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
        assert record.gradient_norm == pytest.approx(norm, rel=1e-12)


def test_an_ordinary_loop_with_plain_closures(network, data):
    model = network()
    inputs, targets = data()
    optimizer = TwoPhase(
        model.parameters(), first=Adam(model.parameters(), lr=1e-2), second=LBFGS, rule=AtEpoch(2), resort=NoResort()
    )

    def closure_on(rows):
        def closure():
            optimizer.zero_grad()
            loss = mse_loss(model(inputs[rows]), targets[rows])
            loss.backward()
            return loss

        return closure

    for _ in range(6):
        if optimizer.phase == "first":
            for start in range(0, 60, 20):
                optimizer.step(closure_on(slice(start, start + 20)))
        else:
            optimizer.step(closure_on(slice(None)))
        optimizer.end_epoch()
    losses = [r.loss for r in optimizer.history.of(EpochRecord)]
    assert [r.phase for r in optimizer.history.of(EpochRecord)] == ["first"] * 2 + ["second"] * 4
    assert losses[-1] < losses[1]
    costs = [r.gradient_equivalents for r in optimizer.history.of(EpochRecord)]
    made = sum(r.forwards + r.gradients for r in optimizer.history.of(IterationRecord))
    assert costs[:2] == [1.0, 2.0]
    assert costs[-1] == 2.0 + 1.0 + made  # the first evaluation belongs to no iteration


def test_the_first_phase_works_without_a_closure(network, data):
    model = network()
    inputs, targets = data()
    optimizer = TwoPhase(model.parameters(), first=Adam(model.parameters()), rule=AtEpoch(1), second=LBFGS)
    mse_loss(model(inputs), targets).backward()
    optimizer.step()
    decision = optimizer.end_epoch(loss=1.0)
    assert decision.swap
    with pytest.raises(UnsupportedError, match="needs a closure"):
        optimizer.step()


def test_an_epoch_of_which_no_loss_is_known_is_refused_with_the_remedy(network):
    model = network()
    optimizer = TwoPhase(model.parameters(), first=Adam(model.parameters()), rule=AtEpoch(2), second=LBFGS)
    with pytest.raises(UnsupportedError, match="no steps were made"):
        optimizer.end_epoch()
    optimizer.step()
    with pytest.raises(UnsupportedError, match=r"some steps were made in it without a loss: give end_epoch\(loss="):
        optimizer.end_epoch()
    assert optimizer.epochs == 0
    for loss in (1.0, 0.9):
        optimizer.end_epoch(loss=loss, gradient_norm=1.0)
    assert optimizer.phase == "second"
    with pytest.raises(UnsupportedError, match="came before the first step of the convex phase"):
        optimizer.end_epoch()
    assert optimizer.phase == "second"


@pytest.mark.parametrize("metrics", [{"accuracy": 1.0}, lambda: None])
def test_metrics_that_are_none_are_refused(metrics, setting, run):
    with pytest.raises(TypeError, match=r"metrics must .* numbers by name"):
        run(setting(metrics=metrics)[2], 1)


def test_the_resort_goes_back_with_the_best_point_and_the_first_state(setting, run, return_after):
    _model, objective, optimizer = setting(rule=AtEpoch(6), resort=return_after(4))
    run(optimizer, 6)
    steps = {id(p): float(s["step"]) for p, s in optimizer.first.state.items()}
    for _ in range(20):
        run(optimizer, 1)
        if optimizer.phase == "first":
            break
    assert optimizer.phase == "first"
    assert steps == {id(p): float(s["step"]) for p, s in optimizer.first.state.items()}
    best = min(r.loss for r in optimizer.history.of(EpochRecord))
    assert objective.loss() == pytest.approx(best, rel=1e-9)
    assert [e.name for e in optimizer.history.of(EventRecord)] == ["swap", "resort"]
    run(optimizer, 1)
    assert optimizer.history.of(EpochRecord)[-1].phase == "first"


def test_a_loop_that_ends_no_epoch_is_warned_once(setting):
    """The loop that one has for Adam, with the objective as closure: the rule would never be asked, without a word."""
    _, objective, optimizer = setting(rule=None, budget=40.0)
    for _ in range(20):
        optimizer.step(objective)
    with pytest.warns(HomestretchWarning, match=r"20 of 40 gradient-equivalents are spent and no epoch was ended") as caught:
        optimizer.step(objective)
    assert caught[0].filename == __file__
    optimizer.step(objective)  # warnings are errors in these tests: a second one would fail
    optimizer.end_epoch()


def test_a_rule_may_count_steps(setting, run):
    _, _, optimizer = setting(rule=AtStep(10))
    run(optimizer, 4)
    assert optimizer.swap_epoch == 3  # four steps an epoch
    assert optimizer.swap_reason.startswith("12 steps")


def test_a_run_that_has_not_swapped_says_why_not(setting, run):
    _, _, optimizer = setting(rule=AtStep(10))
    run(optimizer, 2)
    assert optimizer.swap_epoch is None
    assert optimizer.swap_reason == optimizer.history.of(DecisionRecord)[-1].reason == "8 steps, the swap is set after 10"


def test_the_default_rule_knows_the_budget(setting):
    assert setting(rule=None, budget=50.0)[2].rule.name == "paced-peak"
    assert setting(rule=None)[2].rule.name == "gradient-norm-peak"


def test_the_exact_loss_at_the_swap_is_the_resorts_reference(setting, run):
    _, objective, optimizer = setting(resort=MeasuredResort(), budget=100.0)
    run(optimizer, 3)
    cost = objective.meter.gradient_equivalents
    swap = next(e for e in optimizer.history.of(EventRecord) if e.name == "swap")
    exact = objective.loss()
    assert optimizer.resort.memory.loss == swap.values["exact_loss"] == pytest.approx(exact, rel=1e-12)
    assert optimizer.resort.memory.loss < optimizer.history.of(EpochRecord)[-1].loss
    assert optimizer.resort.memory.cost == cost
    assert optimizer.resort.memory.budget == 100.0


@pytest.mark.parametrize(
    ("reason", "back"), [("TARGET", False), ("GRADIENT_SMALL", False), ("LIMIT", True), ("NON_FINITE", True)]
)
def test_what_was_asked_for_is_no_failure(setting, run, reason, back):
    _, _, optimizer = setting(resort=MeasuredResort(), budget=1e6)
    run(optimizer, 5)
    assert optimizer.phase == "second"
    optimizer.second.scalars["stop"] = reason
    run(optimizer, 1)
    assert (optimizer.phase == "first") is back


def test_probes_leave_the_parameters_alone_and_are_counted(setting, run):
    _model, objective, optimizer = setting(rule=BudgetAware(opener=AtEpoch(1), probe_share=0.1, total_share=0.5), budget=40.0)
    while objective.meter.gradient_equivalents < 39.0:
        run(optimizer, 1)
    probes = [d for d in optimizer.history.of(DecisionRecord) if "probe_cost" in d.values]
    assert probes
    epochs = optimizer.history.of(EpochRecord)
    assert epochs[-1].gradient_equivalents > len(epochs)


def test_a_probe_restores_bit_for_bit(setting, run):
    from homestretch.swap import Decision
    from homestretch.two_phase.probe import run_probe

    model, objective, optimizer = setting(rule=Never())
    run(optimizer, 2)
    before = [p.detach().clone() for p in model.parameters()]
    cost = objective.meter.gradient_equivalents
    result = run_probe(optimizer, Decision(swap=False, reason="", rule="test", values={"probe_cost": 6.0}, probe=True))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert result.loss_after < result.loss_before
    assert result.cost == pytest.approx(objective.meter.gradient_equivalents - cost)
    assert 6.0 <= result.cost < 9.0


def test_coupled_weight_decay_becomes_part_of_the_function(setting, run):
    decay = 0.05
    model, objective, optimizer = setting(first=lambda p, lr: Adam(p, lr=lr, weight_decay=decay))
    run(optimizer, 60)
    objective()
    for p in model.parameters():
        torch.testing.assert_close(p.grad, -decay * p.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("choice", "word"), [("ignore", "ends at the swap"), ("penalty", "penalty")])
def test_decoupled_weight_decay_is_a_stated_choice(setting, run, choice, word):
    _, _, optimizer = setting(first=lambda p, lr: AdamW(p, lr=lr, weight_decay=0.1), decoupled_decay=choice)
    run(optimizer, 4)
    assert word in next(e.message for e in optimizer.history.of(EventRecord) if e.name == "swap")


def test_a_diverged_first_phase_is_an_error_and_no_swap(setting, run):
    _, _, optimizer = setting(first=SGD, rate=1e200)
    with pytest.raises(NonFiniteError, match="diverged"):
        run(optimizer, 30)
    assert optimizer.phase == "first"


def test_schedules_may_hold_either_optimizer(setting, run):
    _, _, optimizer = setting(rule=Never())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    run(optimizer, 1)
    schedule.step()
    assert optimizer.first.param_groups[0]["lr"] == pytest.approx(1e-3)
    run(optimizer, 1)
    assert optimizer.history.of(EpochRecord)[-1].metrics["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_norm": "free"}, "gradient_norm"),
        ({"decoupled_decay": "keep"}, "decoupled_decay"),
        ({"second": "newton"}, "second"),
        ({"evidence": "maybe"}, "evidence must be one of"),
    ],
)
def test_bad_arguments(setting, options, message):
    with pytest.raises(ValueError, match=message):
        setting(**options)


def test_other_parameters_are_refused(network):
    model = network()
    with pytest.raises(ValueError, match="first must optimise the same parameters"):
        TwoPhase(model.parameters(), first=Adam(network().parameters()))


def test_a_run_goes_on_after_a_diverged_epoch_is_rolled_back(setting, run):
    model, objective, optimizer = setting(rule=Never())
    run(optimizer, 1)
    kept, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError):
        run(optimizer, 1)
    model.load_state_dict(kept)
    optimizer.load_state_dict(state)
    run(optimizer, 1)
    assert optimizer.history.of(EpochRecord)[-1].loss == pytest.approx(objective.loss(), rel=0.2)


def test_an_epoch_broken_off_leaves_nothing_in_the_next(setting, run):
    _, _, optimizer = setting(rule=Never())
    for closure in optimizer.epoch():
        optimizer.step(closure)
        break
    run(optimizer, 1)
    assert optimizer.history.of(DecisionRecord)[-1].epoch == 1
    assert optimizer.first_steps == 5
    assert optimizer.mean.loss() != optimizer.mean.loss()  # NaN: empty


@pytest.mark.parametrize("make", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("epochs", [2, 6])
def test_copies_go_on_bit_for_bit(setting, run, make, epochs):
    model, _, optimizer = setting()
    run(optimizer, epochs)
    copied, other = make((model, optimizer))
    run(optimizer, 3)
    run(other, 3)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), copied.parameters(), strict=True))
    assert [r.loss for r in optimizer.history.of(EpochRecord)] == [r.loss for r in other.history.of(EpochRecord)]


@pytest.mark.parametrize("holder", ["first", "two phases"])
def test_a_schedule_that_cycles_momentum_may_hold_either(setting, run, holder):
    _, _, optimizer = setting()
    schedule = OneCycleLR(optimizer if holder == "two phases" else optimizer.first, max_lr=0.1, total_steps=20)
    rates = []
    for _ in range(3):
        run(optimizer, 1)
        schedule.step()
        rates.append(optimizer.first.param_groups[0]["lr"])
    assert rates == sorted(set(rates))


def test_rules_and_resorts_begin_anew_in_a_second_run(setting, run):
    rule, resort = AtEpoch(3), MeasuredResort()
    for _ in range(2):
        _, _, optimizer = setting(rule=rule, resort=resort)
        run(optimizer, 2)
        assert len(resort.memory.first_costs) == 2


@pytest.mark.parametrize(("name", "value"), [("rule", AtEpoch), ("rule", lambda o: True), ("resort", False)])
def test_what_is_no_policy_is_refused_at_the_door(setting, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a"):
        setting(**{name: value})


def test_a_plan_comes_late_or_not_at_all(setting, run):
    _, _, optimizer = setting(rule=None)
    optimizer.plan(50.0)
    assert (optimizer.budget, optimizer.rule.name) == (50.0, "paced-peak")
    optimizer.plan(60.0)
    assert (optimizer.budget, optimizer.rule.name) == (60.0, "paced-peak")
    _, _, optimizer = setting(rule=None, budget=40.0)
    optimizer.plan(60.0)
    assert optimizer.budget == 40.0
    _, _, optimizer = setting(rule=Never())
    run(optimizer, 1)
    optimizer.plan(50.0)
    assert (optimizer.budget, optimizer.rule.name) == (50.0, "never")


class Asking(Never):
    """Always asks for a probe."""

    def judge(self, observation):
        return self.stay("a probe would tell", probe=True, probe_cost=2.0)

    def watch(self, observation):
        pass


def test_nothing_is_probed_while_no_swap_is_allowed(setting, run, return_after):
    _, _, optimizer = setting(resort=return_after(2))
    run(optimizer, 6)
    assert optimizer.phase == "first"
    optimizer.rule = Asking()
    spent = optimizer.meter.gradient_equivalents
    run(optimizer, 2)
    assert optimizer.meter.gradient_equivalents == pytest.approx(spent + 2)
    last = optimizer.history.of(DecisionRecord)[-1]
    assert not last.swap
    assert "not to swap again yet" in last.reason


@pytest.mark.parametrize("method", [NewtonCG, GaussNewtonCG])
def test_a_reload_does_not_choose_the_way_of_products_anew(setting, run, method):
    model, _, optimizer = setting(second=method)
    run(optimizer, 5)
    other, objective, again = setting(second=method)
    other.load_state_dict(model.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch does not copy what it loads
    run(optimizer, 3)
    run(again, 3)
    assert objective.meter.gradient_equivalents == optimizer.meter.gradient_equivalents
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_redrawn_points_are_no_spike():
    """The points of this fit come from ever harder places, so that each draw multiplies the loss."""

    class Wandering:
        def __init__(self):
            self.draws = 0

        def __call__(self, count, generator):
            self.draws += 1
            return (1.0 + self.draws) * (2.0 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 1.0)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    points = torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(1)
    f = LeastSquares(lambda m, x: m(x) - torch.sin(3 * x), model, points, redraw=UniformRedraw(Wandering(), 30))
    optimizer = TwoPhase(
        model.parameters(), f, first=Adam(model.parameters(), lr=1e-2), rule=AtEpoch(28), second=LBFGS, budget=500.0
    )
    for _ in range(80):
        for closure in optimizer.epoch():
            optimizer.step(closure)
    losses = [r.loss for r in optimizer.history.of(EpochRecord)]
    assert max(b / a for a, b in itertools.pairwise(losses[28:])) > 2.0
    assert [e.name for e in optimizer.history.of(EventRecord) if e.name != "evidence"] == ["swap"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_closure_that_changes_is_no_spike_if_that_is_said(network, data, announced):
    model = network()
    inputs, targets = data()
    factor = 1.0

    def closure():
        optimizer.zero_grad()
        loss = factor * mse_loss(model(inputs), targets)
        loss.backward()
        return loss

    optimizer = TwoPhase(model.parameters(), first=Adam(model.parameters(), lr=1e-2), rule=AtEpoch(5), second=LBFGS)
    for epoch in range(20):
        if epoch == 12:
            factor = 10.0
            optimizer.second.renew() if announced else optimizer.second.scalars.update(function_version=-1)
        optimizer.step(closure)
        optimizer.end_epoch()
    assert (optimizer.phase == "second") is announced


@pytest.mark.parametrize(("saved", "loading"), [(50.0, None), (None, 70.0), (50.0, 70.0)])
def test_a_state_brings_its_plan_and_the_rule_chosen_by_it(setting, run, saved, loading):
    _, _, optimizer = setting(rule=None)
    if saved is not None:
        optimizer.plan(saved)
    run(optimizer, 2)
    _, _, again = setting(rule=None)
    if loading is not None:
        again.plan(loading)
    again.load_state_dict(optimizer.state_dict())
    assert again.budget == (loading or saved)
    assert again.rule.name == optimizer.rule.name
    run(again, 2)


def test_a_state_can_be_saved_after_a_layer_was_frozen(setting, run):
    model, _, optimizer = setting()
    run(optimizer, 5)
    model[0].requires_grad_(False)
    run(optimizer, 1)
    state = optimizer.state_dict()["state"]
    assert ["second/gradient" in state[number] for number in range(4)] == [False, False, True, True]


@pytest.mark.parametrize("first", [Adam, SGD])
@pytest.mark.parametrize("epochs", [2, 6])
def test_distributed_checkpoint_round_trip(setting, run, first, epochs):
    """It keeps states by the parameters' names."""
    model, _, optimizer = setting(first=first)
    run(optimizer, epochs)
    kept = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    other, _, again = setting(first=first)
    other.load_state_dict(model.state_dict())
    set_optimizer_state_dict(other, again, kept)
    assert again.phase == optimizer.phase
    run(optimizer, 3)
    run(again, 3)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0.0}, ValueError, "budget must be a finite number above 0, got 0.0"),
        ({"budget": math.nan}, ValueError, "budget must be"),
        ({"probe_samples": 0}, ValueError, "probe_samples must be a whole number"),
        ({"second": torch.optim.LBFGS}, TypeError, r"got torch.optim.lbfgs.LBFGS: .* such as homestretch.LBFGS"),
        ({"second": 3}, TypeError, "second must be 'auto', a Descent or a function that makes one, got builtins.int"),
        ({"first": lambda p, lr: Adam}, TypeError, "first must be an optimizer.*got the class Adam"),
        ({"first": lambda p, lr: Adam(p, maximize=True)}, ValueError, "first maximises"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_at_the_door(setting, options, error, message):
    with pytest.raises(error, match=message):
        setting(**options)


@pytest.mark.parametrize(("dtype", "message"), [(torch.complex64, "view_as_real"), (torch.bfloat16, "too short")])
def test_so_are_dtypes(dtype, message):
    w = nn.Parameter(torch.ones(3, dtype=dtype))
    with pytest.raises(ValueError, match=message):
        TwoPhase([w], first=SGD([w], lr=0.1))


def test_a_convex_phase_that_maximises_is_refused(setting, run):
    _, _, optimizer = setting(second=lambda p: LBFGS(p, maximize=True))
    with pytest.raises(ValueError, match="second maximises"):
        run(optimizer, 3)


def test_groups_are_the_first_optimizers_whatever_is_loaded_into_it(setting):
    _, _, optimizer = setting()
    optimizer.first.load_state_dict(copy.deepcopy(optimizer.first.state_dict()))
    assert optimizer.param_groups is optimizer.first.param_groups
    assert optimizer.state is optimizer.first.state
    with pytest.raises(UnsupportedError, match="before TwoPhase is made"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert len(optimizer.param_groups) == 1


def test_parameters_added_to_the_first_optimizer_are_noticed(setting, run):
    _, _, optimizer = setting()
    optimizer.first.add_param_group({"params": [nn.Parameter(torch.ones(1, dtype=torch.float64))]})
    with pytest.raises(UnsupportedError, match="which the convex phase would not move"):
        run(optimizer, 1)


def test_an_objective_that_was_used_before_does_not_shorten_the_run(setting, run, network, data):
    model = network()
    objective = Objective(model, mse_loss, data(), batch_size=16)
    for _ in range(2):
        torch.manual_seed(0)
        first = Adam(model.parameters(), lr=1e-2)
        optimizer = TwoPhase(model.parameters(), objective, first=first, second=LBFGS, budget=30.0, rule=AtEpoch(3))
        run(optimizer, 6)
        costs = [r.gradient_equivalents for r in optimizer.history.of(EpochRecord)]
        assert costs[:3] == pytest.approx([1.0, 2.0, 3.0])
        assert optimizer.spent == pytest.approx(costs[-1])
        iterations = [r.gradient_equivalents for r in optimizer.history.of(IterationRecord)]
        assert iterations == pytest.approx(costs[3:])
    _, other, again = setting(resort=MeasuredResort())
    again.load_state_dict(optimizer.state_dict())
    assert again.spent == pytest.approx(optimizer.spent)
    assert other.meter.gradient_equivalents == objective.meter.gradient_equivalents


def test_a_loop_of_ones_own_is_counted_beside_an_objective_too(setting):
    """What the objective's meter has not seen is counted by the passes that are told."""
    model, objective, optimizer = setting(rule=Never())
    x, y = objective.batches.full().__next__()[0]
    for _ in range(3):
        for _ in range(5):
            optimizer.zero_grad()
            mse_loss(model(x), y).backward()
            optimizer.step()
        optimizer.end_epoch(loss=1.0, passes=5)
    assert optimizer.spent == 15.0


def test_a_closure_around_the_objective_is_counted_once(setting):
    _, objective, optimizer = setting()
    for _ in range(6):
        for closure in optimizer.epoch():
            optimizer.step(lambda: closure())  # noqa: B023 - called at once; as loops wrap it to log the loss
    assert optimizer.phase == "second"
    meter = objective.meter
    assert meter.gradients == pytest.approx(4.0 + sum(r.gradients for r in optimizer.history.of(IterationRecord)))
    assert optimizer.spent == pytest.approx(meter.gradients + meter.forwards / 3.0)


@pytest.mark.parametrize(("passes", "steps"), [(10, 1), (1, 10)])
def test_the_rule_is_told_how_many_steps_a_pass_has(setting, passes, steps):
    seen = []
    _, objective, optimizer = setting(rule=Custom(lambda seen_so_far: seen.append(seen_so_far[-1].epoch_steps) or False))
    for _ in range(10):
        objective()
        optimizer.step()
    optimizer.end_epoch(loss=1.0, passes=passes)
    assert seen == [steps]


def test_a_change_announced_by_the_user_is_no_spike(setting, run):
    """With an objective whose loss was changed in place."""
    _, objective, optimizer = setting(resort=MeasuredResort())
    run(optimizer, 6)
    loss = objective.sample_loss
    objective.sample_loss = lambda o, t: 10.0 * loss(o, t)
    optimizer.second.renew()
    run(optimizer, 2)
    assert optimizer.phase == "second"


def test_a_budget_raised_later_reaches_the_resort(setting, run):
    _, _, optimizer = setting(resort=MeasuredResort(), budget=30.0)
    run(optimizer, 4)
    assert optimizer.resort.memory.budget == 30.0
    optimizer.budget = 300.0
    run(optimizer, 1)
    assert optimizer.resort.memory.budget == 300.0
