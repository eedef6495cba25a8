"""From one phase to the other and back: what follows from an epoch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from homestretch.cost import FORWARD, GRADIENT
from homestretch.decision import Decision
from homestretch.descent import StopReason
from homestretch.resort import Race
from homestretch.swap import Observation
from homestretch.two_phase.averages import averaged_weights, go_on_from_here, set_points_aside, use_averaged_weights
from homestretch.two_phase.hand_over import decoupled_note, settle
from homestretch.two_phase.journal import write_decision, write_event
from homestretch.two_phase.probe import run_probe
from homestretch.two_phase.race import run_race

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase

_DONE = (
    StopReason.GRADIENT_ZERO,
    StopReason.GRADIENT_SMALL,
    StopReason.TARGET,
    StopReason.BUDGET,
    StopReason.SECONDS,
    StopReason.HELD_OUT,
)


def after_first_epoch(optimizer: TwoPhase, observation: Observation) -> Decision:
    """Ask the swap rule, give it the probe it may want, and swap if it says so and the resort and the evidence let it."""
    resort = optimizer.resort
    resort.observe_first(observation.cost, observation.loss)
    if not resort.may_swap(observation.cost, observation.budget):
        optimizer.rule.watch(observation)
        decision = Decision(swap=False, reason="this run has gone back and is not to swap again yet", rule=resort.name)
        write_decision(optimizer, decision)
        return decision
    decision = _ask(optimizer, observation)
    return propose(optimizer, decision) if decision.swap else decision


def _ask(optimizer: TwoPhase, observation: Observation) -> Decision:
    """The rule's decision on an epoch; a proposal that waits for the evidence stands."""
    inspection = optimizer.inspection
    if inspection is not None and inspection.waiting:
        optimizer.rule.watch(observation)
        return Decision(swap=True, reason=inspection.memory.proposal, rule=optimizer.rule.name)
    decision = optimizer.rule.observe(observation)
    write_decision(optimizer, decision)
    if decision.probe:
        with averaged_weights(optimizer.first):
            probe = run_probe(optimizer, decision)
        decision = optimizer.rule.observe(replace(observation, cost=optimizer.spent, probe=probe))
        write_decision(optimizer, decision)
    return decision


def after_second_epoch(optimizer: TwoPhase, observation: Observation) -> Decision:
    """Ask the resort, and go back if it says so; while the data grow, ask it about all the data whenever they did."""
    stop = optimizer.second.stop_reason
    growing = optimizer.growing
    if growing is not None and not _on_all_data(optimizer) and math.isfinite(observation.loss):
        grown = growing.observe(stop.value if stop is not None else "")
        if not grown:
            return Decision(swap=False, reason=f"the convex phase is on {growing.samples} samples", rule=growing.name)
        write_event(optimizer, "growth", grown, {"samples": float(growing.samples)})
        optimizer.second.evaluate_anew()
        loss = optimizer.second_function(optimizer.objective).loss()
        observation, stop = replace(observation, loss=loss, cost=optimizer.spent), None
        _keep_by_all_data(optimizer, loss)
    if stop in _DONE:
        return Decision(swap=False, reason=f"the convex phase is done: {stop.value}", rule=optimizer.resort.name)
    decision = optimizer.resort.observe_second(
        observation.cost,
        observation.loss,
        None if stop is None else f"the convex phase stopped: {stop.value}",
        version=_version(optimizer),
        start=optimizer.second.start_loss,
        budget=optimizer.budget,
    )
    if decision.swap:
        write_decision(optimizer, decision)
        go_back(optimizer, decision, observation.loss)
    return decision


def propose(optimizer: TwoPhase, proposal: Decision) -> Decision:
    """Carry out a proposed swap unless the budget, the evidence or a race is against it; returns the last word on it."""
    if reason := _unpaid(optimizer):
        decision = replace(proposal, swap=False, reason=f"{reason} ({proposal.reason})")
        write_decision(optimizer, decision)
        return decision
    decision = proposal
    if optimizer.inspection is not None:
        with averaged_weights(optimizer.first):
            decision = optimizer.inspection.look(optimizer, proposal)
    if not decision.swap:
        return decision
    if optimizer.objective is not None:
        optimizer.objective.check_deterministic()
    race = run_race(optimizer, optimizer.resort) if isinstance(optimizer.resort, Race) else None
    if race is not None and race.swap:
        optimizer.rule.begin_again()
        return replace(race, swap=False)
    _begin_second(optimizer, decision, raced=race is not None)
    return decision


def _unpaid(optimizer: TwoPhase) -> str:
    """Why the convex phase would not get to a step within the budget; empty if it would, or if the budget is but a plan."""
    budget, growing = optimizer.budget, optimizer.growing
    if budget is None or optimizer.planned:
        return ""
    left, needed = budget - optimizer.spent, 2.0 * GRADIENT  # an evaluation here and one at the step's end
    if growing is not None and not growing.complete:
        needed = FORWARD + needed * growing.samples / growing.objective.samples
    if left >= needed * (1.0 - 1e-9):  # sums of mini-batches' shares have their rounding
        return ""
    return f"{max(left, 0.0):.3g} gradient-equivalents are left, and {needed:.3g} pay for a step of the convex phase: no swap"


def _begin_second(optimizer: TwoPhase, decision: Decision, *, raced: bool) -> None:
    """Begin the convex phase with what the first optimizer has learned; after a race, go on with it from where that ended."""
    promoted = "" if optimizer.promotion is None else optimizer.promotion.apply()
    averaged = not raced and use_averaged_weights(optimizer.first)
    set_points_aside(optimizer.first)
    settled = "" if raced else settle(optimizer.objective)
    taken = "it goes on from the end of the race" if raced else optimizer.convex.start(optimizer.first)
    loss = None
    if optimizer.objective is not None:
        function = optimizer.second_function(optimizer.objective)
        # The next step uses this evaluation, unless it is going to be on a part of the data: then the loss alone is cheaper.
        loss = optimizer.second.evaluate(function) if _on_all_data(optimizer) else function.loss()
    optimizer.phase = "second"
    optimizer.swap_epoch, optimizer.swap_reason = optimizer.epochs, decision.reason
    notes = [decision.reason, f"method: {type(optimizer.second).__name__} ({optimizer.convex.reason})", taken]
    notes += ["the first optimizer's averaged weights are the starting point"] if averaged else []
    notes += [note for note in (promoted, settled, decoupled_note(optimizer.first, optimizer.decoupled_decay)) if note]
    values = dict(decision.values) if loss is None else {**decision.values, "exact_loss": loss}
    write_event(optimizer, "swap", "; ".join(notes), values)
    optimizer.iterations.copy(optimizer)  # those of a race, now: a checkpoint of this epoch shall have them
    if loss is not None and not _on_all_data(optimizer):
        _keep_by_all_data(optimizer, loss)
    spent = optimizer.spent
    optimizer.resort.swapped(spent, optimizer.epochs, loss, optimizer.budget, _version(optimizer))


def _version(optimizer: TwoPhase) -> int:
    """Version of what the convex phase minimises: the objective's, and how often the user has announced a change.

    Statistics of batch norm that were estimated anew make no other function of it: they are part of the point.
    """
    objective = optimizer.objective
    own = 0 if objective is None else objective.version - getattr(objective, "settled", 0)
    return own + int(optimizer.second.scalars.get("renewals", 0))


def _on_all_data(optimizer: TwoPhase) -> bool:
    return optimizer.growing is None or optimizer.growing.complete


def _keep_by_all_data(optimizer: TwoPhase, loss: float) -> None:
    """Keep the present point if it is the best by all the data; once they are all in, none is needed below what was kept."""
    kept, version = optimizer.kept, _version(optimizer)
    if _on_all_data(optimizer) and not kept.better_than(loss, version):
        kept.drop()
    else:
        kept.offer(loss, optimizer.trainable, version)


def go_back(optimizer: TwoPhase, decision: Decision, loss: float) -> None:
    """The safe resort: the first optimizer goes on from the best point, which is kept, with its state and its schedule."""
    kept, version, back = optimizer.kept, _version(optimizer), []
    if optimizer.growing is not None and kept.better_than(loss, version):
        kept.put_back(optimizer.trainable)
        back.append(f"it goes on from the best point by all the data, of loss {kept.loss:.3g}")
    else:
        kept.offer(loss, optimizer.trainable, version)
    go_on_from_here(optimizer.first)
    optimizer.phase = "first"
    optimizer.rule.begin_again()
    if optimizer.inspection is not None:
        optimizer.inspection.verdict.reset()
    back += [] if optimizer.promotion is None else [optimizer.promotion.undo()]
    write_event(optimizer, "resort", "; ".join([decision.reason, *back]), decision.values)
