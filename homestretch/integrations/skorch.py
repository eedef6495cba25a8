"""skorch: estimators for scikit-learn's pipelines and searches that train in two phases.

skorch gives an optimizer one closure a batch, from one iterator a fit. :class:`TwoPhaseRegressor` and
:class:`TwoPhaseClassifier` let that iterator yield mini-batches before the swap and all the training data as one batch after
it, so an epoch is then one iteration, and close each epoch so that the swap rule is asked.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch.optim import Adam, Optimizer

from homestretch.descent import Descent
from homestretch.integrations.common import (
    Trials,
    end_epoch,
    in_second_phase,
    missing,
    plan_further,
    renew,
    step_to_accepted,
    warn_about_dropout,
)
from homestretch.resort import Resort
from homestretch.swap import SwapRule
from homestretch.two_phase import TwoPhase

try:
    from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
    from skorch.callbacks import Callback, GradientNormClipping
except ImportError as error:
    raise missing("skorch") from error


def two_phase(
    params: list[dict[str, Any]],
    lr: float = 1e-3,
    *,
    first: Callable[..., Optimizer] = Adam,
    second: str | Callable[..., Descent] = "auto",
    rule: SwapRule | None = None,
    resort: Resort | None = None,
    **options: Any,
) -> TwoPhase:
    """A :class:`~homestretch.TwoPhase` as skorch makes optimizers: from parameter groups and a learning rate.

    Args:
        params: Parameter groups.
        lr: The first optimizer's learning rate, which skorch passes as ``lr`` or ``optimizer__lr``.
        first: ``first(params, lr=lr) -> Optimizer``.
        second: ``"auto"`` or a function that makes a Descent from a list of parameters, such as ``LBFGS``.
        rule: When to swap; copied, so that every fit of a clone begins with a fresh one.
        resort: When to go back; copied likewise.
        options: Passed to :class:`~homestretch.TwoPhase`.

    Raises:
        TypeError: If an option is none of TwoPhase's.
    """
    _refuse_unknown(options, first)
    optimizer = first(params, lr=lr)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    rule, resort = copy.deepcopy(rule), copy.deepcopy(resort)
    return TwoPhase(parameters, first=optimizer, second=second, rule=rule, resort=resort, **options)


def _refuse_unknown(options: dict[str, Any], first: Callable[..., Optimizer]) -> None:
    """Refuse options that TwoPhase does not have, and say where those of the first optimizer go."""
    known = inspect.signature(TwoPhase).parameters.keys()
    maker = "torch.optim.Adam" if first is Adam else getattr(first, "__name__", "...")
    for name in sorted(options.keys() - known):
        raise TypeError(
            f"optimizer__{name}={options[name]!r}: TwoPhase has no such argument. If it is meant for the first optimizer, give "
            f"optimizer__first=functools.partial({maker}, {name}={options[name]!r})"
        )


class HomeStretch(Callback):
    """Closes epochs, writes the phase into the net's history, and ends training when the convex phase stops.

    In ``fit`` a :class:`~homestretch.TwoPhase` without a budget is given one of ``max_epochs``; ``partial_fit``, whose end is
    open, plans nothing.

    Attributes:
        stop_: Why the convex phase ended training; empty if it did not.
    """

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Plan the run and look at net and module before any time is spent.

        A convex phase that goes on evaluates its point again: the data may be others than before.

        Raises:
            ValueError: If a callback clips gradients.
        """
        self.stop_ = ""
        if getattr(net, "whole_fit_", False):
            plan_further(net.optimizer_, net.max_epochs)
        renew(net.optimizer_)  # the data may be others than in the last fit
        _refuse_clipping(net)
        warn_about_dropout(net.module_)

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """End the fit if the convex phase has stopped: only now has every callback seen its last epoch.

        ``KeyboardInterrupt`` is how skorch's own early stopping ends a fit.
        """
        if self.stop_:
            net.history.pop()  # the row that skorch has just begun, of an epoch that is not going to be made
            raise KeyboardInterrupt

    def on_epoch_end(self, net: NeuralNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Ask the rule or the resort."""
        net.history.record("phase", 2 if in_second_phase(net.optimizer_) else 1)
        self.stop_ = end_epoch(net.optimizer_)
        if self.stop_ and net.verbose:
            print(self.stop_)


def _refuse_sampling(options: dict[str, Any]) -> None:
    """Refuse samplers: they choose, repeat or weight samples, and the convex phase takes every sample once."""
    for name in ("sampler", "batch_sampler"):
        if options.get(name) is not None:
            raise ValueError(
                f"iterator_train__{name}={type(options[name]).__name__}: after the swap every sample counts once, which would "
                "be another loss. Fit on the samples that shall count, and weight them in the criterion"
            )


def _refuse_clipping(net: NeuralNet) -> None:
    """Refuse callbacks that change the gradient of a loss that a line search looks at."""
    for name, callback in net.callbacks_:
        if isinstance(callback, GradientNormClipping) and callback.gradient_clip_value is not None:
            raise ValueError(
                f"HomeStretch does not take GradientNormClipping (callback {name!r}): a line search needs the loss's own "
                "gradient; clip it inside `first`"
            )


class _Phased:
    """Mini-batches while the first phase lasts, then all the data as one batch.

    Args:
        minibatches: An iterator over mini-batches.
        everything: An iterator over one batch with all the data.
        second: Says whether the convex phase has begun.
    """

    def __init__(self, minibatches: Any, everything: Any, second: Callable[[], bool]) -> None:
        self._minibatches = minibatches
        self._everything = everything
        self._second = second

    def __iter__(self) -> Iterator[Any]:
        return iter(self._everything if self._second() else self._minibatches)


class _AcceptedStep(Trials[dict[str, Any]]):
    """Skorch's record of a step of the convex phase: loss and predictions at the accepted point, not at the first trial."""

    store_step = Trials.note
    get_step = Trials.accepted


class _TwoPhase:
    """What regressor and classifier share; mixed in before a skorch net."""

    def __init__(self, module: Any, *args: Any, optimizer: Any = two_phase, **kwargs: Any) -> None:
        super().__init__(module, *args, optimizer=optimizer, **kwargs)  # type: ignore[call-arg]

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        ours = ("homestretch", HomeStretch())
        *others, printing = super()._default_callbacks  # type: ignore[misc]
        return [*others, ours, printing]

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Skorch's fit, which makes ``max_epochs`` and no more, so that these are a budget."""
        self.whole_fit_ = True
        try:
            return super().fit(X, y, **fit_params)  # type: ignore[misc]
        finally:
            self.whole_fit_ = False

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """See that somebody closes the epochs.

        Raises:
            ValueError: If there is no :class:`HomeStretch` among the callbacks.
        """
        super().on_train_begin(net, X, y, **kwargs)  # type: ignore[misc]
        if not any(isinstance(callback, HomeStretch) for _, callback in self.callbacks_):  # type: ignore[attr-defined]
            raise ValueError(
                f"{type(self).__name__} needs its callback HomeStretch, which asks for the swap: instead of callbacks="
                "'disable' leave out others one by one, as in callbacks__print_log=None"
            )

    def get_train_step_accumulator(self) -> Any:
        """Skorch's accumulator; in the convex phase one that gives the accepted point's loss for ``train_loss``."""
        if in_second_phase(self.optimizer_):  # type: ignore[attr-defined]
            return _AcceptedStep(self.optimizer_)  # type: ignore[attr-defined]
        return super().get_train_step_accumulator()  # type: ignore[misc]

    def _step_optimizer(self, step_fn: Callable[[], Any]) -> None:
        step_to_accepted(super()._step_optimizer, step_fn, self.optimizer_, self.module_)  # type: ignore[misc]

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Skorch's iterator, which follows the phase where it is one for training.

        Raises:
            ValueError: If it has a sampler.
        """
        if training:
            _refuse_sampling(self.get_params_for("iterator_train"))  # type: ignore[attr-defined]
        usual = super().get_iterator(dataset, training=training)  # type: ignore[misc]
        if not training:
            return usual
        options = {**self.get_params_for("iterator_train"), "batch_size": len(dataset), "shuffle": False}  # type: ignore[attr-defined]
        everything = self.iterator_train(dataset, **options)  # type: ignore[attr-defined]
        return _Phased(usual, everything, lambda: in_second_phase(self.optimizer_))  # type: ignore[attr-defined]


class TwoPhaseRegressor(_TwoPhase, NeuralNetRegressor):
    """A ``skorch.NeuralNetRegressor`` that trains in two phases.

    Example:
        >>> net = TwoPhaseRegressor(Module, lr=3e-3, max_epochs=400, optimizer__second=SelfScaledBroyden)

    Args:
        module: The module's class, as for skorch.
        args: Passed to skorch.
        optimizer: :func:`two_phase`, whose arguments are given as ``optimizer__second``, ``optimizer__rule``, ...
        kwargs: Passed to skorch.
    """


class TwoPhaseClassifier(_TwoPhase, NeuralNetClassifier):
    """A ``skorch.NeuralNetClassifier`` that trains in two phases; see :class:`TwoPhaseRegressor`."""
