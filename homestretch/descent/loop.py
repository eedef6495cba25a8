"""The one loop of the convex phase: direction, search, accept or recover, record, with a stop reason."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from homestretch import vectors
from homestretch.descent.current import CurrentPoint
from homestretch.descent.limits import Limits, Purse, refuse_negative
from homestretch.descent.record import Tally
from homestretch.descent.stop import SEARCHED_IN_VAIN, StopReason, from_search
from homestretch.directions.base import Direction, Point, Proposal, Step
from homestretch.errors import UnsupportedError
from homestretch.history import History
from homestretch.line import Line, Search, SearchResult, SearchStatus
from homestretch.objective import living
from homestretch.objective.base import Function
from homestretch.preconditioners import Preconditioner, adam_moments, checked

_FAILED = (SearchStatus.LIMIT, SearchStatus.RESOLVED, SearchStatus.NO_DECREASE)
_MAX_PROPOSALS = 60  # proposals in one iteration, for damped methods that see many rejections


class Descent(CurrentPoint):
    r"""A torch optimizer that minimises a fixed function by a direction and a line search.

    One :meth:`step` is one iteration: the direction proposes, the search picks a step along it, and the point is
    committed if its loss is finite and not above the lowest one so far by more than the rounding allowance. Where the
    search finds nothing, the direction is told (:meth:`Direction.reject`) and may propose again; when it has nothing more
    to offer the loop stops and says why in :attr:`stop_reason`. ``step`` returns the accepted loss and leaves ``.grad``
    at the accepted point.

    The function must be the same at every call. If it changed, call :meth:`renew`. Parameters changed by others between
    steps are noticed by their tensor versions; what writes into ``p.data`` in place raises none: call :meth:`renew` then too.

    Args:
        params: Parameters, groups of them or named parameters, as for any torch optimizer.
        direction: The method.
        search: The line search.
        preconditioner: An approximation of the Hessian to start from; see :meth:`adopt`.
        rounding: Relative allowance for rounding in the loss; by default what the coarsest dtype seen in the first
            evaluation (autocast's included) can resolve.
        gradient_tolerance: Stop when the gradient norm is below this times the first one seen; 0 never.
        target_loss: Stop at this loss.
        budget: Stop when this many gradient-equivalents have been spent.
        seconds: Stop after this much wall time.
        maximize: Maximise the function.

    Attributes:
        start_loss: Loss at the start of the latest :meth:`step`, by the function as it was then; NaN before the first.

    Raises:
        TypeError: If ``search`` is not a line search, or another argument of a wrong type.
        ValueError: If a number is out of range, or the preconditioner does not fit the parameters.
        NonFiniteError: At the first step, and where the function has changed, if loss or gradient are not finite there.
    """

    def __init__(
        self,
        params: Any,
        direction: Direction,
        search: Search,
        *,
        preconditioner: Preconditioner | None = None,
        rounding: float | None = None,
        gradient_tolerance: float = 0.0,
        target_loss: float | None = None,
        budget: float | None = None,
        seconds: float | None = None,
        maximize: bool = False,
    ) -> None:
        refuse_negative("rounding", rounding)
        if isinstance(search, type) or not callable(search):
            raise TypeError(f"search must be a line search such as HagerZhang() or StrongWolfe(), got {search!r}")
        self.limits = Limits(
            gradient_tolerance=gradient_tolerance,
            target_loss=None if target_loss is None else (-target_loss if maximize else target_loss),
            budget=budget,
            seconds=seconds,
        )
        self.direction = direction
        self.search = search
        self.preconditioner = checked(preconditioner)
        self.history = History()
        self.start_loss = math.nan
        super().__init__(params, rounding=rounding, maximize=maximize)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> float | None:  # type: ignore[override]
        """One iteration.

        Args:
            closure: Computes the loss, calls ``backward`` and returns the loss; or an ``Objective``. ``None``, with no
                gradient but zero, only allocates the state, as torch's distributed checkpoints ask.

        Returns:
            The accepted loss.

        Raises:
            UnsupportedError: If there is a gradient and no closure: one gradient is not enough for a step.
        """
        self._refuse_scaler()
        if closure is None:
            if any(p.grad is not None and bool(p.grad.any()) for p in self.parameters):
                raise UnsupportedError(
                    f"{type(self).__name__}.step() needs a closure that computes the loss over all the data and calls "
                    "backward(), as torch's LBFGS does: the search evaluates it at other points"
                )
            return self.allocate()
        self._bind()
        function = self._function(closure)
        started, spent = time.perf_counter(), function.meter.gradient_equivalents
        try:
            self._step(function)
        finally:
            self.scalars["spent"] = float(self.scalars["spent"]) + function.meter.gradient_equivalents - spent
            self.scalars["elapsed"] = float(self.scalars["elapsed"]) + time.perf_counter() - started
        return self._sign * float(self.scalars["loss"])

    def allocate(self) -> None:
        """Make the state now, so that a checkpoint can be taken of it or loaded into it."""
        self._bind()

    @torch.no_grad()
    def evaluate(self, closure: Callable[[], Any]) -> float:
        """The loss at the current point; the next :meth:`step` uses it, so that it costs nothing more."""
        self._refuse_scaler()
        self._bind()
        function = self._function(closure)
        spent = function.meter.gradient_equivalents
        self._current(function)
        self.scalars["spent"] = float(self.scalars["spent"]) + function.meter.gradient_equivalents - spent
        return self._sign * float(self.scalars["loss"])

    def minimize(self, closure: Callable[[], Any], iterations: int) -> float:
        """Make up to ``iterations`` steps, fewer if the loop stops; returns the loss."""
        if iterations < 1:
            raise ValueError(f"iterations must be positive, got {iterations}")
        loss = math.nan
        for _ in range(iterations):
            loss = float(self.step(closure) or 0.0)
            if self.stop_reason is not None:
                break
        return loss

    def adopt(self, first: Optimizer) -> str:
        """Take over what another optimizer learned: its second moments become the preconditioner.

        Returns:
            A sentence that says what was taken over.
        """
        found = adam_moments(first, self.parameters)
        if found is None:
            return f"{type(first).__name__} keeps no second moments: no preconditioner"
        self.preconditioner = found
        if self._bound:
            self._take_preconditioner()
            self.direction.reset()  # what it has learned stands on the old one
        return f"preconditioner diag(sqrt(v) + eps) from {type(first).__name__}'s second moments"

    def renew(self) -> None:
        """Tell the loop that the function has changed: it is evaluated again, and a loop that had stopped goes on."""
        self.scalars["renewals"] = int(self.scalars.get("renewals", 0)) + 1
        self.evaluate_anew()

    def evaluate_anew(self) -> None:
        """Evaluate again at the next step, and go on if the loop had stopped; nothing is said of the function."""
        self.scalars["function_version"] = -1
        self._forget_stop()

    # --- one iteration ---

    def _step(self, function: Function) -> None:
        purse = self.limits.purse(self.scalars, function.meter)
        if self.stop_reason is None:
            living.advance(function)
        point = self._current(function)
        self.start_loss = self._sign * point.loss
        if self.stop_reason is not None:
            return
        restart = self._stop_if_done(function)
        if self.stop_reason is None:
            self._iterate(function, point, purse, restart)
        living.explain_stop(function, self.stop_reason in SEARCHED_IN_VAIN)
        if self.stop_reason is not None:
            self._restore_best(function, evaluate=purse.empty() is None)

    def _iterate(self, function: Function, point: Point, purse: Purse, restart: str) -> None:
        started = time.perf_counter()
        norm_before = float(self.scalars["gradient_norm"])
        vectors.copy_(self._start_buffer, self._local)
        vectors.copy_(self._gradient_buffer, point.gradient)
        point.gradient = self._gradient_buffer  # and the search's evaluations may free the gradient that was there
        self._watch.forget()
        tally = Tally(restart)
        try:
            proposal, step, status = self._advance(function, point, purse, tally)
        except BaseException:  # an error in the closure, an interruption: a trial point is none to go on from
            if float(self.scalars["loss"]) == point.loss:  # no step was accepted yet
                self._back(point)
            raise
        self.scalars["iteration"] = int(self.scalars["iteration"]) + 1
        record = tally.record(
            proposal, step, changed=self._changed, numbers=living.measure(function, float(self.scalars["loss"])),
            iteration=self.scalars["iteration"], loss=self._sign * float(self.scalars["loss"]),
            gradient_norm=float(self.scalars["gradient_norm"]), norm_before=norm_before,
            length=proposal.length, status=status.name.lower(),
            stop=self.stop_reason.name.lower() if self.stop_reason else "",
            gradient_equivalents=function.meter.gradient_equivalents, seconds=time.perf_counter() - started,
        )  # fmt: skip
        self._changed = ""
        self.history.append(record)

    def _advance(self, function: Function, point: Point, purse: Purse, tally: Tally) -> tuple[Proposal, Step, SearchStatus]:
        """Search along one proposal after the other until a step is accepted or there is a reason to stop."""
        for number in range(1, _MAX_PROPOSALS + 1):
            point.left = purse.left
            proposal = self._propose(point)
            tally.propose(proposal)
            line = self._line(function, point, proposal, purse)
            result = self.search(line) if line.start_slope < 0.0 else _no_search(line)
            step, status = self._commit(line, result, proposal)
            tally.search(line)
            if step.length > 0.0:
                self._accept(function, step)
                if status is SearchStatus.UNBOUNDED:
                    self._stop(StopReason.UNBOUNDED)
                self._stop_if_spent(status, purse)
                return proposal, step, status
            self._back(point)
            if self._stop_if_spent(status, purse):
                return proposal, step, status  # what the direction has learned is not at fault
            if proposal.unaffordable:
                self._stop(StopReason.BUDGET)
                return proposal, step, status
            again = self.direction.reject(step, point)
            if not again or number == _MAX_PROPOSALS:
                self._stop(StopReason.LIMIT if again else from_search(status))
                return proposal, step, status
        raise AssertionError("the last proposal returns")

    def _propose(self, point: Point) -> Proposal:
        """The method's proposal, with the numbers that it left out."""
        proposal = self.direction.propose(point)
        if math.isnan(proposal.slope + proposal.length):
            proposal.slope, square = point.dots((point.gradient, proposal.vector), (proposal.vector, proposal.vector))
            proposal.length = math.sqrt(square)
        return proposal

    def _line(self, function: Function, point: Point, proposal: Proposal, purse: Purse) -> Line:
        return Line(
            function, self._local, self._gradient, self._start_buffer, proposal.vector,
            loss=point.loss, slope=proposal.slope, first_step=proposal.first_step, scaled=proposal.scaled,
            noise=self._noise(point.loss), groups=self._groups, cheap_loss=self._functions.cheap_loss, spent=purse.empty,
        )  # fmt: skip

    def _commit(self, line: Line, result: SearchResult, proposal: Proposal) -> tuple[Step, SearchStatus]:
        """Move to the search's step if it is acceptable; a step of length 0 says that it is not, the status why."""
        length, status = result.step, result.status
        if not length > 0.0 and status is not SearchStatus.REJECTED:
            length = line.best()[0]
        loss, slope, norm = line.start_loss, line.start_slope, math.nan
        if length > 0.0:
            length, loss, slope, norm = line.commit_finite(length, shorten=not proposal.damped)
            ceiling = float(self.scalars["best_loss"]) + line.noise
            # A search that found no step it wanted, and gained what rounding may give or take, has found nothing.
            vain = status in _FAILED and line.start_loss - loss <= line.noise
            if not length:
                status = SearchStatus.BUDGET if line.exhausted(graded=False) else SearchStatus.NON_FINITE
            elif vain or loss > ceiling:
                told = vain and -length * line.start_slope <= line.noise  # nor would more evaluations find anything
                length, status = 0.0, SearchStatus.NO_DECREASE if told else status
        gain = (line.start_loss - loss) / (proposal.predicted_at(length) or math.nan)
        before, after = self._gradient_buffer, self._gradient()
        step = Step(length, proposal.vector, before, after, line.start_loss, loss, line.start_slope, slope, norm, gain)
        return step, status

    def _accept(self, function: Function, step: Step) -> None:
        """Stand at the new point."""
        self._keep_best(step.loss_after)
        self._remember(function, step.loss_after, step.gradient_norm)
        self.direction.accept(step, self._point(function, step.gradient_after))

    def _back(self, point: Point) -> None:
        """Return to the start of the iteration, gradient included."""
        vectors.copy_(self._local, self._start_buffer)
        vectors.copy_(self._gradient(), self._gradient_buffer)
        self._watch.note(self.memory.parameters)


def _no_search(line: Line) -> SearchResult:
    """The direction does not go downhill: nothing to search."""
    return SearchResult(0.0, line.start_loss, None, SearchStatus.NO_DECREASE)
