"""Both phases from one point for the same short cost; the winner goes on, the loser leaves no trace but its cost."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from homestretch import checkpoint, vectors
from homestretch.decision import Decision
from homestretch.errors import HomestretchError
from homestretch.resort import Race, Trace
from homestretch.two_phase.averages import averaged_weights, use_averaged_weights
from homestretch.two_phase.hand_over import buffers_of, put_buffers, settle
from homestretch.two_phase.journal import write_event
from homestretch.two_phase.measure import observe
from homestretch.two_phase.state import load_first
from homestretch.vectors import Vector

if TYPE_CHECKING:
    from homestretch.objective import AnyObjective
    from homestretch.two_phase.optimizer import TwoPhase


@dataclass
class Start:
    """All that the first phase changes, as it was before the race."""

    parameters: Vector
    buffers: list[Tensor]
    first: dict[str, Any]
    rule: dict[str, Any]
    resort: dict[str, Any]
    counts: tuple[int, int, int]
    records: int
    random: dict[str, Any]

    @classmethod
    def of(cls, optimizer: TwoPhase, objective: AnyObjective) -> Start:
        """Take a copy."""
        return cls(
            vectors.clone(vectors.locals_of(objective.parameters)),
            buffers_of(objective),
            deepcopy(optimizer.first.state_dict()),
            deepcopy(optimizer.rule.state_dict()),
            deepcopy(optimizer.resort.state_dict()),
            (optimizer.epochs, optimizer.first_epochs, optimizer.first_steps),
            len(optimizer.history),
            checkpoint.random_state(),
        )

    def put_back(self, optimizer: TwoPhase, objective: AnyObjective) -> None:
        """Undo what the first phase did since."""
        vectors.copy_(vectors.locals_of(objective.parameters), self.parameters)
        put_buffers(objective, self.buffers)
        load_first(optimizer, self.first)
        optimizer.rule.load_state_dict(self.rule)
        optimizer.resort.load_state_dict(self.resort)
        optimizer.epochs, optimizer.first_epochs, optimizer.first_steps = self.counts
        optimizer.history.rewind(self.records)
        checkpoint.set_random_state(self.random)


def run_race(optimizer: TwoPhase, race: Race) -> Decision | None:
    """Run the race that a proposed swap has led to, within one call, so that no checkpoint falls into it.

    The convex phase runs first, from the current point; then the first phase makes as many whole epochs as the race allows,
    from the same point, with the random numbers, the order of the data and the learning rate that it would have had without a
    race (a schedule that the caller steps stands still meanwhile). Both are judged by their loss over all the data. If the
    first phase wins, its epochs are made and recorded as always. If the convex phase wins, the first optimizer is put back to
    where it was, and the convex phase is left as it ended, parameters and state.

    Returns:
        The decision, whose ``swap`` says that the first phase has won; ``None`` if too little of the budget is left to race.
    """
    objective, cost = optimizer.objective, optimizer.spent
    assert objective is not None
    epochs = max(round(race.race_cost(cost, optimizer.budget) / objective.portion), 1)
    if optimizer.budget is not None and optimizer.budget - cost < 3.0 * epochs * objective.portion:
        return None
    start = Start.of(optimizer, objective)
    recorded = len(optimizer.second.history)
    parameters = vectors.locals_of(objective.parameters)
    with averaged_weights(optimizer.first):
        second_trace = _run_second(optimizer, objective, epochs * objective.portion)
        second, reached = optimizer.second.state_dict(), vectors.clone(parameters)
        settled = buffers_of(objective)
    vectors.copy_(parameters, start.parameters)
    put_buffers(objective, start.buffers)
    checkpoint.set_random_state(start.random)
    first_trace = _run_first(optimizer, objective, epochs, second_trace[0][1])
    decision = race.settle(first_trace, second_trace)
    if decision.swap:
        optimizer.second.restart()
        optimizer.second.history.rewind(recorded)
    else:
        start.put_back(optimizer, objective)
        use_averaged_weights(optimizer.first)
        vectors.copy_(parameters, reached)
        put_buffers(objective, settled)
        optimizer.second.load_state_dict(second)
    total = optimizer.spent - cost
    write_event(optimizer, "race", f"{decision.reason}; {total:.4g} in all", {**decision.values, "total_cost": total})
    return decision


def _run_second(optimizer: TwoPhase, objective: AnyObjective, allowed: float) -> Trace:
    second, function = optimizer.prepare_second(), optimizer.second_function(objective)
    before = optimizer.spent
    settle(objective)
    trace = [(0.0, float("nan"))]
    try:
        trace = [(0.0, second.evaluate(function))]
        while optimizer.spent - before < allowed and second.stop_reason is None:
            loss = float(second.step(function) or 0.0)
            trace.append((optimizer.spent - before, loss))
    except HomestretchError:
        trace.append((allowed, float("nan")))
    objective.zero_grad()
    return trace


def _run_first(optimizer: TwoPhase, objective: AnyObjective, epochs: int, start_loss: float) -> Trace:
    for _ in range(epochs):
        optimizer.mean.reset()
        for closure in objective.minibatches(optimizer.epochs + 1):
            optimizer.step(closure)
        optimizer.epochs += 1
        optimizer.first_epochs += 1
        observation = observe(optimizer, None, None)
        optimizer.resort.observe_first(observation.cost, observation.loss)
        optimizer.rule.watch(observation)
    with averaged_weights(optimizer.first):
        loss = optimizer.second_function(objective).loss()
    return [(0.0, start_loss), (epochs * objective.portion, loss)]
