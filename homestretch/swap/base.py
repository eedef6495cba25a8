"""The contract of all swap rules: feed what an epoch of the first phase showed, get a decision with its reason.

Plain Python: a rule sees numbers only, so it can be replayed over a stored record as well as used live.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from homestretch.decision import Decision
from homestretch.errors import NonFiniteError
from homestretch.memory import Remembering


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """A short run of the convex phase from a copy of the current point, that a rule asked for.

    Attributes:
        loss_before: Loss over all the data at the copied point.
        loss_after: Lowest loss over all the data that the probe reached.
        cost: Gradient-equivalents that the probe spent, positive.
        trace: Points (gradient-equivalents since the probe's start, loss), in order, where the caller kept them.
        failure: Why the probe ended early (a failed search, a NaN); empty if it did not.
    """

    loss_before: float
    loss_after: float
    cost: float
    trace: tuple[tuple[float, float], ...] = ()
    failure: str = ""

    def __post_init__(self) -> None:
        if not self.cost > 0.0:
            raise ValueError(f"cost of a probe must be positive, got {self.cost}: give its counted gradient-equivalents")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one epoch of the first phase showed.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Loss of the epoch: the mean over its mini-batches, or over all the data.
        gradient_norm: Euclidean norm of the gradient, measured as ``gradient_norm_kind`` says.
        cost: Gradient-equivalents spent so far.
        budget: Gradient-equivalents planned for the whole run; ``None`` if the end is open.
        gradient_norm_kind: ``"running-mean"``, ``"probe"``, ``"exact"`` or ``"given"``.
        noise_scale: The simple gradient noise scale in samples, trace of the gradient's covariance over its squared norm
            (McCandlish et al., 2018); ``None`` if it is unknown.
        samples: Size of the data set; ``None`` if it is unknown.
        learning_rate: Learning rate of the first phase in this epoch; ``None`` if it is unknown.
        step: Steps of the first optimizer so far; ``None`` if they are not counted.
        epoch_steps: Steps in this epoch; likewise.
        probe: Answer to a decision that asked for a probe. An observation with an answer repeats its epoch and is not
            counted as a new one.
    """

    epoch: int
    loss: float
    gradient_norm: float
    cost: float
    budget: float | None = None
    gradient_norm_kind: str = "given"
    noise_scale: float | None = None
    samples: int | None = None
    learning_rate: float | None = None
    step: int | None = None
    epoch_steps: int | None = None
    probe: ProbeResult | None = None


class SwapRule(Remembering, ABC):
    """A rule that says when to swap.

    A subclass names itself, keeps what it remembers in ``self.memory`` (see :class:`~homestretch.memory.Remembering`) and
    writes :meth:`judge`; a rule that asks for probes writes :meth:`weigh` too.

    Attributes:
        needs_budget: Whether it cannot judge without a budget, so that it is refused before a run is begun.
    """

    needs_budget: bool = False

    def observe(self, observation: Observation) -> Decision:
        """Take in an epoch and decide.

        Raises:
            NonFiniteError: If the loss or the gradient norm is not finite: that is an error of the first phase, no reason
                to swap.
        """
        _check_finite(observation)
        if observation.probe is not None:
            return self.weigh(observation, observation.probe)
        return self.judge(observation)

    @abstractmethod
    def judge(self, observation: Observation) -> Decision:
        """Decide on a new epoch whose numbers are finite."""

    def weigh(self, observation: Observation, probe: ProbeResult) -> Decision:
        """Decide on the answer to a probe, with the observation it belongs to."""
        return self.stay("this rule asks for no probe")

    def watch(self, observation: Observation) -> None:
        """Take in an epoch whose decision is not wanted yet: a rule that asks for probes asks for none."""
        self.observe(observation)

    def begin_again(self) -> None:
        """The first phase begins anew within a run, after a return; what is bounded over the whole run is not forgotten."""
        self.reset()

    def stay(self, reason: str, *, probe: bool = False, **values: float) -> Decision:
        """The decision not to swap."""
        return Decision(swap=False, reason=reason, rule=self.name, values=values, probe=probe)

    def swap(self, reason: str, **values: float) -> Decision:
        """The decision to swap."""
        return Decision(swap=True, reason=reason, rule=self.name, values=values)

    def decide(self, swap: bool, reason: str, **values: float) -> Decision:
        """The decision to swap or not."""
        return Decision(swap=swap, reason=reason, rule=self.name, values=values)


def _check_finite(observation: Observation) -> None:
    for what, value in (("loss", observation.loss), ("gradient norm", observation.gradient_norm)):
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the {what} of epoch {observation.epoch} is {value}: the first phase has diverged or did not report it; "
                "lower its learning rate or clip its gradients (no rule swaps on such a number)"
            )
