"""What goes from the first optimizer to the convex phase, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homestretch import descent as methods
from homestretch.auto import METHODS, Factory, choose
from homestretch.cost import CostMeter
from homestretch.descent import Descent
from homestretch.directions.alignment import residuals_of
from homestretch.objective.base import Function, describe
from homestretch.objective.closure import ClosureFunction
from homestretch.objective.dataset import Objective
from homestretch.objective.penalty import Penalized, coupled_decays, decoupled_decays
from homestretch.objective.progressive import Growing

Second = str | Descent | Factory


class SecondPhase:
    """The convex phase of a :class:`~homestretch.two_phase.TwoPhase`: built when it is first needed.

    Args:
        second: ``"auto"``, a :class:`~homestretch.descent.Descent`, or ``factory(parameters) -> Descent``.
        parameters: The trainable parameters.
        objective: The function, where it is known, for ``"auto"``.
    """

    def __init__(self, second: Second, parameters: Sequence[Tensor], objective: Function | None) -> None:
        self._second = second
        self._parameters = list(parameters)
        self._objective = objective
        self.descent: Descent | None = second if isinstance(second, Descent) else None
        self.chosen = ""  # by name, where the choice was left to us
        self.reason = "given by the user"
        if isinstance(second, Descent) and _ids(second.parameters) != _ids(self._parameters):
            raise ValueError("second must optimise the same parameters as first, in the same order")
        if isinstance(second, str) and second != "auto":
            raise ValueError(f"second must be 'auto', a Descent or a function that makes one, got {second!r}: {_meant(second)}")
        kind = second if isinstance(second, type) else type(second)
        foreign = issubclass(kind, Optimizer) and not issubclass(kind, Descent)
        if foreign or not (isinstance(second, (str, Descent)) or callable(second)):
            raise TypeError(
                f"second must be 'auto', a Descent or a function that makes one, got {kind.__module__}.{kind.__name__}: the "
                "methods of the convex phase are homestretch's own, such as homestretch.LBFGS"
            )
        if isinstance(second, Descent):
            self._check(second)
        elif isinstance(second, type):  # a class, whose making needs no more than is known
            self.descent = self._made(second)
        if self.descent is not None:
            self._check_fit(self.descent)

    def get(self, left: float = math.inf) -> Descent:
        """The descent, made if there is none yet; ``left`` gradient-equivalents may be spent, for ``"auto"``."""
        if self.descent is None:
            make: Callable[[list[Tensor]], Any]
            if isinstance(self._second, str):
                choice = choose(self._parameters, self._objective, left)
                make, self.chosen, self.reason = choice.make, choice.name, choice.reason
            else:
                make = self._second  # type: ignore[assignment]
            self.descent = self._made(make)
        return self.descent

    def _made(self, make: Callable[[list[Tensor]], Any]) -> Descent:
        made = make(self._parameters)
        if not isinstance(made, Descent):
            raise TypeError(f"second must make a Descent, {describe(make)} made a {type(made).__name__}")
        self._check(made)
        return made

    def _check_fit(self, descent: Descent) -> None:
        """Refuse now what would be refused at the swap, epochs later."""
        check = getattr(descent.direction, "check", None)
        if check is not None:
            check(self._parameters)
        objective, needed = self._objective, getattr(descent.direction, "needs_residuals", False)
        # Asked of the class, as asking the object would evaluate its residuals.
        if needed and objective is not None and not hasattr(type(objective), "jacobian_chunks"):
            residuals_of(objective, type(descent).__name__)

    @staticmethod
    def _check(descent: Descent) -> None:
        if descent.maximize:
            raise ValueError("second maximises, and both phases must minimise the same function: negate the loss instead")

    def recall(self, chosen: str, reason: str) -> None:
        """Take a choice over that an earlier session made: at another point, on another machine, it might fall otherwise."""
        if not chosen or not isinstance(self._second, str) or chosen == self.chosen:
            return
        if chosen not in METHODS:
            raise ValueError(f"the state holds the method {chosen!r}; this version chooses among {', '.join(METHODS)}")
        self.chosen, self.reason = chosen, reason
        self.descent = METHODS[chosen](self._parameters)

    def start(self, first: Optimizer) -> str:
        """Begin afresh from the current point with what ``first`` has learned; returns what was taken over."""
        descent = self.get()
        descent.restart()
        taken = descent.adopt(first)
        descent.allocate()  # the state is made now, so that a checkpoint at the swap holds what was taken over
        return taken


def _meant(name: str) -> str:
    """What to write in place of a method's name."""
    known = {n.lower(): n for n in methods.__all__}
    found = known.get(name.lower().replace("-", "").replace("_", ""), "LBFGS")
    return f"give the class itself, as in second=homestretch.{found}"


def second_function(
    closure: Any, first: Optimizer, parameters: Sequence[Tensor], decoupled_decay: str, meter: CostMeter
) -> Any:
    """The function of the convex phase: the closure, with the first optimizer's weight decay where that is part of it.

    A plain closure is counted on ``meter``, which the resort reads.
    """
    if not isinstance(closure, Function):
        closure = ClosureFunction(closure, parameters, meter)
    decayed, decays = decays_of(first, decoupled_decay)
    return Penalized(closure, decayed, decays) if decayed else closure


def decays_of(first: Optimizer, decoupled_decay: str) -> tuple[list[Tensor], list[float]]:
    """Parameters whose weight decay is part of what both phases minimise, and their decays.

    Args:
        first: The first optimizer. Its coupled decay always is.
        decoupled_decay: ``"penalty"`` if its decoupled decay is to be, too.
    """
    coupled, decoupled = coupled_decays(first), decoupled_decays(first)
    if decoupled_decay != "penalty":
        return coupled
    return coupled[0] + decoupled[0], coupled[1] + decoupled[1]


def decoupled_note(first: Optimizer, decoupled_decay: str) -> str:
    """What becomes of a decoupled weight decay, as a sentence; empty if there is none."""
    if not decoupled_decays(first)[0]:
        return ""
    if decoupled_decay == "penalty":
        return "the first optimizer's decoupled weight decay goes on as a penalty of half the decay times the squared norm"
    return "the first optimizer's decoupled weight decay is not part of any loss and ends at the swap"


def growing(objective: Any) -> Growing | None:
    """The function of a convex phase that begins on a part of the data, if the objective asks for that."""
    growth = objective.growth if isinstance(objective, Objective) else None
    return Growing(objective, growth) if growth is not None else None


def settle(objective: Any) -> str:
    """Estimate batch norm's running statistics anew where the convex phase is going to use them; says what was done."""
    return objective.settle() if isinstance(objective, Objective) and objective.mode == "eval" else ""


def buffers_of(objective: Any) -> list[Tensor]:
    """Copies of what the model keeps beside its parameters: batch norm's statistics."""
    return [] if objective.model is None else [b.detach().clone() for b in objective.model.buffers()]


def put_buffers(objective: Any, kept: list[Tensor]) -> None:
    """Put those copies back."""
    if objective.model is not None:
        for buffer, value in zip(objective.model.buffers(), kept, strict=True):
            buffer.copy_(value)


def _ids(tensors: Sequence[Tensor]) -> list[int]:
    return [id(t) for t in tensors]
