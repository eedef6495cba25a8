"""A short run of the convex phase from a copy of the current point, for rules that ask for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homestretch import vectors
from homestretch.errors import HomestretchError
from homestretch.swap import Decision, ProbeResult
from homestretch.two_phase.hand_over import buffers_of, put_buffers, settle

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase

_DEFAULT_COST = 5.0  # gradient-equivalents, for a rule that names none


def run_probe(optimizer: TwoPhase, decision: Decision) -> ProbeResult:
    """Run the convex phase for the cost that the rule asked for, then put parameters and buffers back bit for bit.

    The cost is counted like any other. The convex phase starts afresh when the swap comes.
    """
    objective = optimizer.objective
    if objective is None:
        raise ValueError(f"the rule {decision.rule} asks for probes, which need an objective: give one to TwoPhase")
    allowed = float(decision.values.get("probe_cost", _DEFAULT_COST))
    parameters = vectors.locals_of(objective.parameters)
    saved, buffers = vectors.clone(parameters), buffers_of(objective)
    before = objective.meter.gradient_equivalents
    second, function = optimizer.prepare_second(), optimizer.second_function(objective)
    recorded = len(second.history)
    trace: list[tuple[float, float]] = []
    failure = ""
    try:
        settle(objective)
        start = second.evaluate(function)
        while objective.meter.gradient_equivalents - before < allowed and second.stop_reason is None:
            loss = float(second.step(function) or 0.0)
            trace.append((objective.meter.gradient_equivalents - before, loss))
        if second.stop_reason is not None:
            failure = second.stop_reason.value
        elif not trace:
            failure = f"the {allowed:.3g} gradient-equivalents that it was allowed paid for no step"
    except HomestretchError as error:
        start, failure = float("nan"), str(error)
    finally:
        vectors.copy_(parameters, saved)
        put_buffers(objective, buffers)
        objective.zero_grad()
        second.restart()
        second.history.rewind(recorded)
    return ProbeResult(
        loss_before=start,
        loss_after=min((f for _, f in trace), default=start),
        cost=objective.meter.gradient_equivalents - before,
        trace=tuple(trace),
        failure=failure,
    )
