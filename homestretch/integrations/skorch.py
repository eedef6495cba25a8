"""skorch: estimators for scikit-learn's pipelines and searches that train in two phases.

skorch gives an optimizer one closure a batch, from one iterator a fit. :class:`TwoPhaseRegressor` and
:class:`TwoPhaseClassifier` let that iterator yield mini-batches before the swap and all the training data as one batch after
it, so an epoch is then one iteration, and close each epoch so that the swap rule is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch.optim import Adam, Optimizer

from homestretch.descent import Descent
from homestretch.integrations.common import (
    end_epoch,
    in_second_phase,
    missing,
    plan_budget,
    step_with_call,
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
    """
    optimizer = first(params, lr=lr)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    rule, resort = copy.deepcopy(rule), copy.deepcopy(resort)
    return TwoPhase(parameters, first=optimizer, second=second, rule=rule, resort=resort, **options)


class HomeStretch(Callback):
    """Closes epochs, writes the phase into the net's history, and ends training when the convex phase stops.

    In ``fit`` a :class:`~homestretch.TwoPhase` without a budget is given one of ``max_epochs``; ``partial_fit``, whose end is
    open, plans nothing.

    Attributes:
        stop_: Why the convex phase ended training; empty if it did not.
    """

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Plan the run and look at net and module before any time is spent.

        Raises:
            ValueError: If a callback clips gradients.
        """
        self.stop_ = ""
        if getattr(net, "whole_fit_", False):
            spent = round(net.optimizer_.meter.gradient_equivalents) if isinstance(net.optimizer_, TwoPhase) else 0
            plan_budget(net.optimizer_, spent + net.max_epochs)
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

    def _step_optimizer(self, step_fn: Callable[[], Any]) -> None:
        step_with_call(super()._step_optimizer, step_fn)  # type: ignore[misc]

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Skorch's iterator, which follows the phase where it is one for training."""
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
