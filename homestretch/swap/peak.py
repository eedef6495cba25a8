r"""The guarded peak of the gradient norm: the default rule.

While a descent falls towards a minimum through a non-convex region its gradient norm tends to grow, and to shrink in the
convex region around the minimum: the peak opens the door (Hrycej et al., 2025, sections 2 and 3). What it proves is little:
along gradient flow :math:`\frac{d}{dt} \frac12 |g|^2 = - g^\top H g`, so a falling norm shows positive curvature along the
gradient, there, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from homestretch import arguments
from homestretch.decision import Decision
from homestretch.swap.base import Observation, SwapRule
from homestretch.swap.smoothing import KINDS, smooth, span

_RELEASE = 0.97


@dataclass
class PeakMemory:
    """Recent values, the trough before the rise, and the maximum since."""

    norms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    first_loss: float | None = None
    trough: float | None = None
    trough_epoch: int = 0
    risen: bool = False
    maximum: float = 0.0
    maximum_epoch: int = 0
    maximum_loss: float = 0.0
    maximum_rate: float | None = None
    below: int = 0


class GradientNormPeak(SwapRule):
    """Swap once the smoothed gradient norm has risen from a trough, peaked and stayed below its maximum.

    Guards, beyond the literal rule:

    * The initial transient: many models start with their largest norm. Nothing counts as a maximum before the smoothed norm
      stands ``rise`` times above its lowest value so far, and the loss has fallen to ``loss_factor`` of its first value.
    * Noise: the norm and the loss are smoothed over ``window`` epochs, and the norm must be below ``factor`` times its maximum
      in ``patience`` epochs. The count starts again only when the norm is back above ``release`` times the maximum.
    * The loss must have fallen since the maximum: a norm that shrinks on a plateau shows nothing.
    * The schedule: a smaller learning rate lowers the norm by itself, at most about in proportion (steps bounce less across
      narrow valleys). Where the rate has fallen since the maximum, the threshold is lowered in the same proportion, so that
      only the rest of the fall counts. Weight decay under a falling rate can make the norm rise late, without a message
      about convexity (Defazio, 2025, "Why gradients rapidly increase near the end of training"); that rise can only delay
      the swap, to the fallback at the latest.
    * No peak: with a known budget, ``fallback_share`` of it is the latest moment.

    Args:
        factor: Share of the maximum below which the norm must fall.
        rise: How far above its trough the norm must have risen, a factor above 1.
        loss_factor: Share of the first loss that the loss must have reached before a maximum counts.
        window: Width of the smoothing, in epochs.
        window_steps: The same in steps of the first optimizer, rounded to whole epochs, in place of ``window``.
        smoothing: ``"median"``, ``"ema"`` or ``"none"``.
        patience: Epochs below the threshold that are needed.
        release: Share of the maximum above which the count of such epochs starts again, at least ``factor``; 0.97 by default,
            or ``factor`` where that is more.
        fallback_share: Share of the budget after which to swap without a peak; ``None`` never does.
    """

    name = "gradient-norm-peak"
    Memory = PeakMemory
    memory: PeakMemory

    def __init__(
        self,
        factor: float = 0.9,
        *,
        rise: float = 1.5,
        loss_factor: float = 0.9,
        window: int = 5,
        window_steps: int | None = None,
        smoothing: str = "median",
        patience: int = 3,
        release: float | None = None,
        fallback_share: float | None = 0.5,
    ) -> None:
        super().__init__()
        self.factor = arguments.fraction("factor", factor)
        self.rise = arguments.at_least("rise", rise, 1.0)
        self.loss_factor = arguments.positive("loss_factor", loss_factor)
        self.window = arguments.count("window", window)
        self.window_steps = None if window_steps is None else arguments.count("window_steps", window_steps)
        self.smoothing = arguments.one_of("smoothing", smoothing, KINDS)
        self.patience = arguments.count("patience", patience)
        given = max(_RELEASE, self.factor) if release is None else arguments.fraction("release", release)
        self.release = arguments.at_least("release", given, self.factor)
        self.fallback_share = None if fallback_share is None else arguments.fraction("fallback_share", fallback_share)

    def judge(self, observation: Observation) -> Decision:
        """Smooth, follow the trough and the maximum, and count the epochs below the threshold."""
        norm, loss = self._smoothed(observation)
        decision = self._wait_for_rise(observation, norm, loss) or self._watch_fall(observation, norm, loss)
        return decision if decision.swap else self._fallback(observation) or decision

    def _smoothed(self, observation: Observation) -> tuple[float, float]:
        memory, window = self.memory, self._window(observation)
        keep = span(self.smoothing, window)
        memory.norms = [*memory.norms, observation.gradient_norm][-keep:]
        memory.losses = [*memory.losses, observation.loss][-keep:]
        if observation.learning_rate is not None:
            memory.rates = [*memory.rates, observation.learning_rate][-keep:]
        return smooth(memory.norms, self.smoothing, window), smooth(memory.losses, self.smoothing, window)

    def _window(self, observation: Observation) -> int:
        """Width of the smoothing, in epochs."""
        if self.window_steps is None:
            return self.window
        if not observation.epoch_steps:
            raise ValueError("window_steps needs the steps of each epoch in its observation: give epoch_steps, or use window")
        return max(round(self.window_steps / observation.epoch_steps), 1)

    def _wait_for_rise(self, observation: Observation, norm: float, loss: float) -> Decision | None:
        """The decision to wait while the initial transient lasts, ``None`` after it."""
        memory = self.memory
        if memory.first_loss is None:
            memory.first_loss = loss
        if not memory.risen:
            if memory.trough is None or norm < memory.trough:
                memory.trough, memory.trough_epoch = norm, observation.epoch
            memory.risen = norm > self.rise * memory.trough
            if not memory.risen:
                return self.stay(
                    f"gradient norm {norm:.3g} has not yet risen {self.rise:g}-fold from its lowest value "
                    f"{memory.trough:.3g} of epoch {memory.trough_epoch}",
                    gradient_norm=norm,
                    trough=memory.trough,
                )
        if memory.maximum_epoch == 0 and loss > self.loss_factor * memory.first_loss:
            return self.stay(
                f"loss {loss:.3g} has not yet fallen to {self.loss_factor:g} x its first value {memory.first_loss:.3g}",
                gradient_norm=norm,
                loss=loss,
                first_loss=memory.first_loss,
            )
        return None

    def _watch_fall(self, observation: Observation, norm: float, loss: float) -> Decision:
        memory = self.memory
        if memory.maximum_epoch == 0 or norm > memory.maximum:
            memory.maximum, memory.maximum_epoch, memory.maximum_loss = norm, observation.epoch, loss
            # The smoothed norm lags behind: the highest rate that had a part in it.
            memory.maximum_rate, memory.below = max(memory.rates, default=None), 0
            return self.stay(f"gradient norm {norm:.3g} is the largest so far", gradient_norm=norm, maximum=norm)
        slowdown = self._slowdown(observation.learning_rate)
        level = memory.maximum * slowdown
        threshold = self.factor * level
        if norm < threshold and loss < memory.maximum_loss:
            memory.below += 1
        elif norm > self.release * level:
            memory.below = 0
        return self.decide(
            memory.below >= self.patience,
            self._describe(norm, threshold, loss, slowdown),
            gradient_norm=norm,
            maximum=memory.maximum,
            threshold=threshold,
            below=memory.below,
        )

    def _slowdown(self, rate: float | None) -> float:
        """By how much the learning rate has fallen since the maximum, a factor of at most 1."""
        before = self.memory.maximum_rate
        return min(1.0, rate / before) if rate is not None and before else 1.0

    def _describe(self, norm: float, threshold: float, loss: float, slowdown: float) -> str:
        memory = self.memory
        scaled = f" x {slowdown:.3g} for the lower learning rate" if slowdown < 1.0 else ""
        relation = "is below" if norm < threshold else "is not below"
        text = (
            f"gradient norm {norm:.3g} {relation} {self.factor:g} x its maximum {memory.maximum:.3g} "
            f"of epoch {memory.maximum_epoch}{scaled}"
        )
        if norm < threshold and loss >= memory.maximum_loss:
            return f"{text}, but the loss {loss:.3g} has not fallen since ({memory.maximum_loss:.3g})"
        return f"{text}; {memory.below} of {self.patience} epochs" if memory.below else text

    def _fallback(self, observation: Observation) -> Decision | None:
        if self.fallback_share is None or observation.budget is None:
            return None
        spent = observation.cost / observation.budget
        if spent < self.fallback_share:
            return None
        return self.swap(f"no peak of the gradient norm in {spent:.1%} of the budget: it swaps at {self.fallback_share:.0%}")
