"""TwoPhase: a first optimizer on mini-batches, then a convex-phase method on the whole objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homestretch import arguments
from homestretch.cost import CostMeter
from homestretch.decision import Decision
from homestretch.descent import Descent, StopReason
from homestretch.errors import NonFiniteError, UnsupportedError
from homestretch.history import History
from homestretch.objective import AnyObjective
from homestretch.objective.living import not_finite
from homestretch.pickling import whole_state
from homestretch.promotion import Promotion
from homestretch.resort import MeasuredResort, Resort
from homestretch.swap import SwapRule, default_rule
from homestretch.two_phase import state as state_format
from homestretch.two_phase.accounts import Accounts
from homestretch.two_phase.averages import use_training_weights
from homestretch.two_phase.choices import check_choices, check_first, check_policies
from homestretch.two_phase.first_step import first_step
from homestretch.two_phase.gradient_norm import RunningMean
from homestretch.two_phase.groups import check_same_parameters, check_trainable, ids
from homestretch.two_phase.hand_over import Second, SecondPhase, growing, second_function
from homestretch.two_phase.inspection import Inspection, as_inspection
from homestretch.two_phase.journal import Iterations
from homestretch.two_phase.kept import Kept, restore_best
from homestretch.two_phase.measure import check_told, observe
from homestretch.two_phase.transitions import after_first_epoch, after_second_epoch


class TwoPhase(Accounts):
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
        rule: When to swap; by default :class:`~homestretch.swap.PacedPeak`, and without a budget
            :class:`~homestretch.swap.GradientNormPeak`. Rule, resort and inspection begin with nothing in memory.
        resort: When to go back; by default when the convex phase makes less progress for its cost than the first phase did.
            A :class:`~homestretch.resort.Race` lets both phases run before one goes on.
        evidence: ``"record"`` the curvature at a proposed swap, ``"wait"`` with the swap until it speaks for convexity,
            ``None`` for neither, or an :class:`~homestretch.two_phase.inspection.Inspection` with its own bounds on the
            price, by default 1 % of the budget (of the cost so far without one) for each look.
        gradient_norm: ``"running-mean"`` (free), ``"probe"`` (a fixed sample) or ``"exact"`` (costs a pass).
        probe_samples: Size of the fixed sample for ``"probe"``.
        budget: Planned cost of the whole run in gradient-equivalents, for rules that ask. A loop of your own may spend more,
            but no swap comes where what is left would not pay for a step of the convex phase.
        decoupled_decay: What becomes of a decoupled weight decay at the swap: ``"ignore"`` it, as no loss contains it, or
            keep it as a ``"penalty"``.
        promote: Whether the convex phase runs in float64, data, buffers and parameters cast at the swap and back at a resort;
            see :func:`~homestretch.promotion.promote`.
        metrics: Called at the end of each epoch; the numbers it returns by name go into the epoch's record.
        history: Where records go; a new one in memory by default.

    Attributes:
        phase: ``"first"``, or ``"second"`` in the convex phase.
        epochs: Epochs made, in both phases.
        swap_epoch: The epoch after which the convex phase began, the latest one; ``None`` if it never has.
        swap_reason: Why then; if it never has, what the rule said last.

    Raises:
        TypeError: If ``rule`` or ``resort`` is none, or ``first`` or ``second`` no optimizer or what makes one.
        ValueError: If arguments are out of range, or ``first`` maximises, has other parameters, or ones of a dtype that the
            convex phase cannot work in.
    """

    def __init__(
        self,
        params: Any,
        objective: AnyObjective | None = None,
        *,
        first: Optimizer,
        second: Second = "auto",
        rule: SwapRule | None = None,
        resort: Resort | None = None,
        evidence: str | Inspection | None = "record",
        gradient_norm: str = "running-mean",
        probe_samples: int = 512,
        budget: float | None = None,
        decoupled_decay: str = "ignore",
        promote: bool = False,
        metrics: Callable[[], dict[str, float]] | None = None,
        history: History | None = None,
    ) -> None:
        check_policies(rule, resort)
        check_choices(objective, gradient_norm, resort, decoupled_decay, metrics, promote=promote)
        check_first(first)
        super().__init__(params, {})
        self.defaults = first.defaults  # which schedules ask for momentum
        check_same_parameters(first, ids(self))
        self.first = first
        self.objective = objective
        self.own_rule = rule is None
        self.rule = rule if rule is not None else default_rule(budget)
        self.resort = resort if resort is not None else MeasuredResort()
        self.history = history if history is not None else History()
        self.metrics = metrics
        self.inspection = as_inspection(evidence)
        self._set_budget(budget)
        for remembering in (self.rule, self.resort, self.inspection):
            if remembering is not None:
                remembering.reset()  # it may have seen another run
        if objective is None and self.inspection is not None and self.inspection.mode == "wait":
            raise ValueError("evidence='wait' needs an objective to take Hessian products of")
        self.phase = "first"
        self.allocated = False
        self.epochs = 0
        self.first_epochs = 0
        self.first_steps = 0
        self.told = False  # that no epoch was ended
        self.swap_epoch: int | None = None
        self.swap_reason = ""
        self.meter = objective.meter if objective is not None else CostMeter()
        self.before = (self.meter.gradient_equivalents, self.meter.seconds)  # of an objective that was used before
        self.gradient_norm = gradient_norm
        self.probe_samples = arguments.count("probe_samples", probe_samples)
        self.decoupled_decay = decoupled_decay
        self.promotion = Promotion(objective) if promote and objective is not None else None
        self._count = len(ids(first))
        self.trainable: list[Tensor] = [p for g in first.param_groups for p in g["params"] if p.requires_grad]
        whole = self.second_function(objective) if objective is not None else None
        self.convex = SecondPhase(second, self.trainable, whole)
        self.growing = growing(objective)
        self.kept = Kept()
        self.mean = RunningMean(self.trainable, getattr(objective, "group", None))
        self.iterations = Iterations()
        self._closed = 0.0
        use_training_weights(first)

    @property
    def second(self) -> Descent:
        """The method of the convex phase."""
        return self.convex.get(math.inf if self.budget is None else self.budget - self.spent)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the convex phase has ended; further epochs change nothing then. ``None`` while a phase goes on."""
        return self.second.stop_reason if self.phase == "second" else None

    # --- one epoch, one step ---

    def epoch(self) -> Iterator[Callable[[], Tensor]]:
        """Closures for one epoch; when they are used up, :meth:`end_epoch` runs.

        Raises:
            UnsupportedError: If there is no objective.
        """
        if self.objective is None:
            raise UnsupportedError("epoch() needs an objective: give one to TwoPhase, or call end_epoch() after your own loop")
        self.mean.reset()  # of what an epoch that was broken off left there
        if self.phase == "first":
            yield from self.objective.minibatches(self.epochs + 1)
        else:
            yield self.growing or self.objective
        self.end_epoch()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One mini-batch step of the first phase, or one iteration of the second.

        Args:
            closure: As for any torch optimizer. The first phase also works without one if ``.grad`` is filled.
        """
        if self.phase == "first":
            return first_step(self, closure)
        if closure is None:
            raise UnsupportedError(
                "after the swap step() needs a closure that computes the loss over all the data and calls backward()"
            )
        loss = self.second.step(self.second_function(closure))
        self.iterations.copy(self)
        return loss

    def end_epoch(self, loss: float | None = None, gradient_norm: float | None = None, *, passes: float = 1.0) -> Decision:
        """Close an epoch: measure, record, and ask the rule (first phase) or the resort (second phase).

        Args:
            loss: The epoch's loss, if the caller knows better than the mean over the closures.
            gradient_norm: Likewise its gradient norm.
            passes: Passes over the data that a loop of the caller's own made in the first phase since the last call: with
                full batches as many as steps. They are counted, unless :meth:`epoch` has counted what was evaluated.

        Returns:
            The decision, with its reason.

        Raises:
            NonFiniteError: If loss or gradient norm are not finite in the first phase.
            UnsupportedError: If ``first`` has got parameters since this was made, or some of them were unfrozen; or if no loss
                is known, as steps were made without a closure.
        """
        check_trainable(self.first, self._count, self.trainable)
        check_told(self, loss)
        self.epochs += 1
        if self.phase == "first":
            self.first_epochs += 1
            if self.objective is None or self.spent == self._closed:
                self.meter.count_gradient(arguments.positive("passes", passes))
        try:
            observation = observe(self, loss, gradient_norm, passes)
            decision = after_first_epoch(self, observation) if self.phase == "first" else after_second_epoch(self, observation)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}{not_finite(self.objective)}") from error
        finally:
            self.mean.reset()
            self._closed = self.spent
        if self.swap_epoch is None:
            self.swap_reason = decision.reason
        if self.inspection is not None:
            self.inspection.end_epoch()
        return decision

    def restore_best(self) -> bool:
        """At the end of a run: put the best point of a convex phase that the run has gone back from back, if it is lower.

        :func:`~homestretch.fit` does it by itself. Costs two forward passes where a point is kept (three with batch norm in
        eval mode), else nothing; needs the objective.

        Returns:
            Whether the parameters have changed.
        """
        return restore_best(self) is not None

    def prepare_second(self) -> Descent:
        """The method of the convex phase, begun afresh from the current point with what ``first`` has learned."""
        self.convex.start(self.first)
        return self.second

    def allocate(self) -> None:
        """Let the next :meth:`state_dict` hold a convex phase, too, to load one into.

        torch's distributed checkpoints load only what a state holds already. To go on from one that was saved in the convex
        phase, call this before ``get_state_dict`` of the state to load into.
        """
        self.allocated = True

    def second_function(self, closure: Any) -> Any:
        """What the convex phase minimises: the closure, with a weight decay of ``first`` that is part of the loss."""
        return second_function(closure, self.first, self.trainable, self.decoupled_decay, self.meter)

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """One state over both phases, the rule and the resort, in the form torch gives an optimizer's state."""
        return state_format.save(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`'s result, on either side of the swap.

        Raises:
            ValueError: If the state was not saved from a TwoPhase, or from one of another first optimizer, method or growth.
        """
        state_format.load(self, state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only before there are two phases.

        Raises:
            UnsupportedError: If this optimizer is made already.
        """
        if "first" in self.__dict__:
            raise UnsupportedError("add parameters to `first` before TwoPhase is made")
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        """Everything, for copies and pickles; torch would keep groups and state alone."""
        return whole_state(self)
