"""TwoPhase: a first optimizer on mini-batches, then a convex-phase method on the whole objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homestretch.cost import CostMeter
from homestretch.descent import Descent, StopReason
from homestretch.errors import UnsupportedError
from homestretch.history import DecisionRecord, EpochRecord, EventRecord, History
from homestretch.objective.dataset import Objective
from homestretch.resort import MeasuredResort, Race, Resort
from homestretch.swap import Decision, GradientNormPeak, Observation, SwapRule
from homestretch.two_phase import state as state_format
from homestretch.two_phase.gradient_norm import KINDS, RunningMean
from homestretch.two_phase.hand_over import (
    Second,
    SecondPhase,
    decoupled_note,
    second_function,
    use_averaged_weights,
    use_training_weights,
)
from homestretch.two_phase.measure import measured_norm
from homestretch.two_phase.probe import run_probe

_DECAY_CHOICES = ("ignore", "penalty")


class TwoPhase(Optimizer):
    """A torch optimizer over two: mini-batches first, the whole objective after the swap.

    Example:
        >>> optimizer = TwoPhase(model.parameters(), objective, first=Adam(model.parameters()))
        >>> for epoch in range(epochs):
        ...     for closure in optimizer.epoch():  # mini-batches before the swap, the whole objective after
        ...         optimizer.step(closure)

    The swap rule runs when :meth:`epoch` is exhausted. With plain closures call :meth:`end_epoch` after each epoch
    instead, and give :meth:`step` a closure over all the data once :attr:`phase` is ``"second"``.

    Args:
        params: The parameters, the same as ``first``'s.
        objective: The objective; ``None`` with plain closures.
        first: Any torch optimizer. Its parameter groups are this optimizer's, so learning-rate schedules may hold either.
        second: ``"auto"``, a Descent over the same parameters, or a function that makes one from a list of them.
        rule: When to swap; the guarded gradient-norm peak by default.
        resort: When to go back; by default when the convex phase makes less progress for its cost than the first phase did.
        gradient_norm: ``"running-mean"`` (free), ``"probe"`` (a fixed sample) or ``"exact"`` (costs a pass).
        probe_samples: Size of the fixed sample for ``"probe"``.
        budget: Planned cost of the whole run in gradient-equivalents, for rules that ask.
        decoupled_decay: What becomes of a decoupled weight decay at the swap: ``"ignore"`` it, as no loss contains it, or
            keep it as a ``"penalty"``.
        metrics: Called at the end of each epoch; the numbers it returns by name go into the epoch's record.
        history: Where records go; a new one in memory by default.

    Raises:
        ValueError: If arguments are out of range or ``first`` has other parameters.
    """

    def __init__(
        self,
        params: Any,
        objective: Objective | None = None,
        *,
        first: Optimizer,
        second: Second = "auto",
        rule: SwapRule | None = None,
        resort: Resort | None = None,
        gradient_norm: str = "running-mean",
        probe_samples: int = 512,
        budget: float | None = None,
        decoupled_decay: str = "ignore",
        metrics: Callable[[], dict[str, float]] | None = None,
        history: History | None = None,
    ) -> None:
        if gradient_norm not in KINDS:
            raise ValueError(f"gradient_norm must be one of {KINDS}, got {gradient_norm!r}")
        if gradient_norm != "running-mean" and objective is None:
            raise ValueError(f"gradient_norm={gradient_norm!r} needs an objective to evaluate")
        if isinstance(resort, Race):
            raise ValueError(
                "resort: TwoPhase does not run races, it only measures; use MeasuredResort, or call Race.settle yourself"
            )
        if decoupled_decay not in _DECAY_CHOICES:
            raise ValueError(f"decoupled_decay must be one of {_DECAY_CHOICES}, got {decoupled_decay!r}")
        super().__init__(params, {})
        given = [id(p) for g in self.param_groups for p in g["params"]]
        if given != [id(p) for g in first.param_groups for p in g["params"]]:
            raise ValueError("first must optimise the same parameters as params, in the same order")
        self.first = first
        self.objective = objective
        self.rule = rule if rule is not None else GradientNormPeak()
        self.resort = resort if resort is not None else MeasuredResort()
        self.history = history if history is not None else History()
        self.budget = budget
        self.metrics = metrics
        self.phase = "first"
        self.epochs = 0
        self.swap_epoch: int | None = None
        self.swap_reason = ""
        self.meter = objective.meter if objective is not None else CostMeter()
        self._kind = gradient_norm
        self._probe_samples = probe_samples
        self._decoupled_decay = decoupled_decay
        self._trainable: list[Tensor] = [p for g in first.param_groups for p in g["params"] if p.requires_grad]
        self._second = SecondPhase(second, self._trainable, objective)
        self._mean = RunningMean(self._trainable)
        self._reported = 0  # second-phase iteration records already copied to the history
        self._share_groups()
        use_training_weights(first)

    @property
    def second(self) -> Descent:
        """The method of the convex phase."""
        return self._second.get()

    # --- one epoch, one step ---

    def epoch(self) -> Iterator[Callable[[], Tensor]]:
        """Closures for one epoch; when they are used up, :meth:`end_epoch` runs.

        Raises:
            UnsupportedError: If there is no objective.
        """
        if self.objective is None:
            raise UnsupportedError("epoch() needs an objective: give one to TwoPhase, or call end_epoch() after your own loop")
        if self.phase == "first":
            yield from self.objective.minibatches(self.epochs + 1)
        else:
            yield self.objective
        self.end_epoch()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One mini-batch step of the first phase, or one iteration of the second.

        Args:
            closure: As for any torch optimizer. The first phase also works without one if ``.grad`` is filled.
        """
        if self.phase == "first":
            return self._first_step(closure)
        if closure is None:
            raise UnsupportedError(
                "after the swap step() needs a closure that computes the loss over all the data and calls backward()"
            )
        loss = self.second.step(self.second_function(closure))
        self._copy_iterations()
        return loss

    def end_epoch(self, loss: float | None = None, gradient_norm: float | None = None) -> Decision:
        """Close an epoch: measure, record, and ask the rule (first phase) or the resort (second phase).

        Args:
            loss: The epoch's loss, if the caller knows better than the mean over the closures.
            gradient_norm: Likewise its gradient norm.

        Returns:
            The decision, with its reason.

        Raises:
            NonFiniteError: If loss or gradient norm are not finite in the first phase.
        """
        self.epochs += 1
        if self.objective is None and self.phase == "first":
            self.meter.count_gradient()
        observation = self._observe(loss, gradient_norm)
        decision = self._decide_first(observation) if self.phase == "first" else self._decide_second(observation)
        self._mean.reset()
        return decision

    def prepare_second(self) -> Descent:
        """The method of the convex phase, begun afresh from the current point with what ``first`` has learned."""
        self._second.start(self.first)
        return self.second

    def second_function(self, closure: Any) -> Any:
        """What the convex phase minimises: the closure, with a weight decay of ``first`` that is part of the loss."""
        return second_function(closure, self.first, self._trainable, self._decoupled_decay)

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """One state over both phases, the rule and the resort, in the form torch gives an optimizer's state."""
        return state_format.save(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, on either side of the swap.

        Raises:
            ValueError: If the state was not saved from a TwoPhase.
        """
        state_format.load(self, state_dict)
        self._share_groups()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to both phases."""
        super().add_param_group(param_group)
        if hasattr(self, "first"):
            raise UnsupportedError("add parameters to `first` before TwoPhase is made")

    # --- inside ---

    def _first_step(self, closure: Callable[[], Any] | None) -> Any:
        if closure is None:
            self._mean.add(None)
            return self.first.step()
        weight = float(getattr(closure, "fraction", 1.0))
        taken = False

        def watched() -> Any:
            nonlocal taken
            loss = closure()
            if not taken:
                self._mean.add(loss, weight)
                taken = True
            return loss

        return self.first.step(watched)

    def _observe(self, loss: float | None, gradient_norm: float | None) -> Observation:
        scale = None
        if self.phase == "first":
            found = self._mean.loss() if loss is None else float(loss)
            if gradient_norm is not None:
                norm, kind = float(gradient_norm), "given"
            else:
                norm, kind = measured_norm(self._kind, self._mean, self.objective, self._probe_samples), self._kind
            scale = self._mean.noise_scale(self.objective.samples if self.objective is not None else None)
        else:
            found = float(self.second.scalars.get("loss", math.nan)) if loss is None else float(loss)
            norm, kind = float(self.second.scalars.get("gradient_norm", math.nan)), "exact"
        rate = self.param_groups[0].get("lr")
        self._record_epoch(found, norm, kind, rate)
        return Observation(
            epoch=self.epochs,
            loss=found,
            gradient_norm=norm,
            gradient_norm_kind=kind,
            cost=self.meter.gradient_equivalents,
            budget=self.budget,
            noise_scale=scale,
            samples=self.objective.samples if self.objective is not None else None,
            learning_rate=None if rate is None else float(rate),
        )

    def _record_epoch(self, loss: float, norm: float, kind: str, rate: Any) -> None:
        metrics = self.metrics() if self.metrics is not None else {}
        if rate is not None and self.phase == "first":
            metrics["learning_rate"] = float(rate)
        self.history.append(
            EpochRecord(
                epoch=self.epochs,
                phase=self.phase,
                loss=loss,
                gradient_norm=norm,
                gradient_norm_kind=kind,
                gradient_equivalents=self.meter.gradient_equivalents,
                seconds=self.meter.seconds,
                metrics=metrics,
            )
        )

    def _decide_first(self, observation: Observation) -> Decision:
        self.resort.observe_first(observation.cost, observation.loss)
        decision = self.rule.observe(observation)
        self._note(decision)
        if decision.probe:
            probe = run_probe(self, decision)
            decision = self.rule.observe(replace(observation, cost=self.meter.gradient_equivalents, probe=probe))
            self._note(decision)
        if decision.swap and self.resort.may_swap():
            self._swap(decision)
        return decision

    def _swap(self, decision: Decision) -> None:
        averaged = use_averaged_weights(self.first)
        if self.objective is not None:
            self.objective.check_deterministic()
        taken = self._second.start(self.first)
        self.phase = "second"
        self.swap_epoch, self.swap_reason = self.epochs, decision.reason
        notes = [decision.reason, f"method: {type(self.second).__name__} ({self._second.reason})", taken]
        notes += ["the first optimizer's averaged weights are the starting point"] if averaged else []
        notes += [note for note in [decoupled_note(self.first, self._decoupled_decay)] if note]
        self._event("swap", "; ".join(notes), decision.values)
        self.resort.swapped(self.meter.gradient_equivalents, self.history[-1].epoch)

    def _decide_second(self, observation: Observation) -> Decision:
        stop = self.second.stop_reason
        decision = self.resort.observe_second(observation.cost, observation.loss, _failure(stop))
        if decision.swap:
            self._note(decision)
            self._go_back(decision)
        return decision

    def _go_back(self, decision: Decision) -> None:
        """The safe resort: the first optimizer goes on from the best point, with its state and its schedule."""
        use_training_weights(self.first)
        self.phase = "first"
        self.rule.reset()
        self._event("resort", decision.reason, decision.values)

    def _copy_iterations(self) -> None:
        """The convex phase's own records become part of the run's."""
        for record in self.second.history[self._reported :]:
            self.history.append(record)
        self._reported = len(self.second.history)

    def _note(self, decision: Decision) -> None:
        self.history.append(
            DecisionRecord(
                epoch=self.epochs, swap=decision.swap, rule=decision.rule, reason=decision.reason, values=dict(decision.values)
            )
        )

    def _event(self, name: str, message: str, values: dict[str, float]) -> None:
        self.history.append(EventRecord(epoch=self.epochs, name=name, message=message, values=dict(values)))

    def _share_groups(self) -> None:
        """This optimizer's groups and state are the first optimizer's, so that schedules may hold either."""
        self.param_groups = self.first.param_groups
        self.state = self.first.state


def _failure(stop: StopReason | None) -> str | None:
    return None if stop is None else f"the convex phase stopped: {stop.value}"
