"""From one phase to the other and back: what follows from an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from homestretch.decision import Decision
from homestretch.swap import Observation
from homestretch.two_phase.averages import averaged_weights, go_on_from_here, use_averaged_weights
from homestretch.two_phase.hand_over import decoupled_note
from homestretch.two_phase.journal import write_decision, write_event
from homestretch.two_phase.probe import run_probe

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase


def after_first_epoch(optimizer: TwoPhase, observation: Observation) -> Decision:
    """Ask the swap rule, give it the probe it may want, and swap if it says so and the resort lets it."""
    optimizer.resort.observe_first(observation.cost, observation.loss)
    decision = optimizer.rule.observe(observation)
    write_decision(optimizer, decision)
    if decision.probe:
        with averaged_weights(optimizer.first):
            probe = run_probe(optimizer, decision)
        decision = optimizer.rule.observe(replace(observation, cost=optimizer.meter.gradient_equivalents, probe=probe))
        write_decision(optimizer, decision)
    if decision.swap and optimizer.resort.may_swap():
        swap(optimizer, decision)
    return decision


def after_second_epoch(optimizer: TwoPhase, observation: Observation) -> Decision:
    """Ask the resort, and go back if it says so."""
    stop = optimizer.second.stop_reason
    failure = None if stop is None else f"the convex phase stopped: {stop.value}"
    decision = optimizer.resort.observe_second(observation.cost, observation.loss, failure)
    if decision.swap:
        write_decision(optimizer, decision)
        go_back(optimizer, decision)
    return decision


def swap(optimizer: TwoPhase, decision: Decision) -> None:
    """Begin the convex phase from the current point with what the first optimizer has learned."""
    averaged = use_averaged_weights(optimizer.first)
    if optimizer.objective is not None:
        optimizer.objective.check_deterministic()
    taken = optimizer.convex.start(optimizer.first)
    optimizer.phase = "second"
    optimizer.swap_epoch, optimizer.swap_reason = optimizer.epochs, decision.reason
    notes = [decision.reason, f"method: {type(optimizer.second).__name__} ({optimizer.convex.reason})", taken]
    notes += ["the first optimizer's averaged weights are the starting point"] if averaged else []
    notes += [note for note in [decoupled_note(optimizer.first, optimizer.decoupled_decay)] if note]
    write_event(optimizer, "swap", "; ".join(notes), decision.values)
    optimizer.resort.swapped(optimizer.meter.gradient_equivalents, optimizer.epochs)


def go_back(optimizer: TwoPhase, decision: Decision) -> None:
    """The safe resort: the first optimizer goes on from the best point, with its state and its schedule."""
    go_on_from_here(optimizer.first)
    optimizer.phase = "first"
    optimizer.rule.reset()
    write_event(optimizer, "resort", decision.reason, decision.values)
