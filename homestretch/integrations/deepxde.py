"""DeepXDE with its PyTorch backend: a callback for ``Model.train``.

``Model.compile`` takes any torch optimizer, so a method of homestretch goes in as it is. What DeepXDE's loop does not know
is when that method has stopped, when drawn points make the loss another function, and when a
:class:`~homestretch.TwoPhase` should be asked. :class:`HomeStretch` does that, and hands the method the model's residuals in
place of a closure where it can, which Gauss-Newton-CG and Levenberg-Marquardt need.
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch import arguments
from homestretch.cost import CostMeter
from homestretch.descent import StopReason
from homestretch.integrations.common import convex_method, end_epoch, in_second_phase, is_ours, missing, plan_further, renew
from homestretch.objective import LeastSquares
from homestretch.two_phase import TwoPhase

if "deepxde" not in sys.modules:
    os.environ.setdefault("DDE_BACKEND", "pytorch")  # else DeepXDE looks for one, and writes its choice to the home folder
try:
    import deepxde
except ImportError as error:
    raise missing("deepxde") from error
_backend = getattr(deepxde.backend, "backend_name", "none")
if _backend != "pytorch":
    raise ImportError(
        f"homestretch needs DeepXDE's PyTorch backend, and {_backend} is loaded: set "
        "DDE_BACKEND=pytorch in the environment before deepxde is first imported"
    )

_AGREE = 1e-5  # relative difference up to which two ways to compute a loss in float32 count as the same
_ROUNDING = (StopReason.NO_DECREASE, StopReason.NO_PROGRESS)


def least_squares(model: deepxde.Model, meter: CostMeter | None = None) -> LeastSquares:
    """The residuals of a compiled model at its training points, as an objective.

    The terms are named ``term 0``, ``term 1``, ... in the order of DeepXDE's losses; ``loss_weights`` are taken over. Its
    value is DeepXDE's training loss if that is the mean squared error of every term (the default) without a regulariser.

    Args:
        model: The model.
        meter: Where evaluations are counted; a new one if not given.
    """
    parameters = list(model.net.parameters()) + list(model.external_trainable_variables)
    data = model.data

    def residuals() -> dict[str, Tensor]:
        state = model.train_state
        with torch.enable_grad():  # derivatives in the inputs are needed where the loss alone is evaluated, too
            inputs = _as_inputs(state.X_train)
            targets = None if state.y_train is None else torch.as_tensor(state.y_train)
            extra = state.train_aux_vars
            model.net.auxiliary_vars = None if extra is None else torch.as_tensor(extra)
            outputs = model.net(inputs)
            through = [model.net] if deepxde.config.autodiff == "forward" else None
            terms = data.losses_train(targets, outputs, lambda true, found: found - true, inputs, model, aux=through)
            deepxde.gradients.clear()
        terms = terms if isinstance(terms, list) else [terms]
        return {f"term {i}": r for i, r in enumerate(terms)}

    weights = {f"term {i}": float(w) for i, w in enumerate(model.loss_weights or [])}
    return LeastSquares(residuals, parameters, weights=weights, meter=meter)


class HomeStretch(deepxde.callbacks.Callback):
    """Drives a :class:`~homestretch.TwoPhase` or a convex-phase method that a model was compiled with.

    Example:
        >>> model.compile(SelfScaledBroyden(model.net.parameters()))
        >>> model.train(iterations=5000, callbacks=[HomeStretch()])

    Args:
        residuals: Whether the method is handed the model's residuals (:func:`least_squares`) rather than DeepXDE's closure;
            by default if both give the same loss.
        epoch: Iterations of the first phase after which a TwoPhase's rule is asked.
        iterations: Those that ``Model.train`` is going to be given; a TwoPhase without a budget takes them for its plan, as an
            iteration of the first phase is a pass over all the points.

    Attributes:
        stop: Why the convex phase ended training; empty if it did not.

    Raises:
        ValueError: If ``epoch`` or ``iterations`` is not a whole number, 1 or more.
    """

    model: Any

    def __init__(self, residuals: bool | None = None, epoch: int = 100, iterations: int | None = None) -> None:
        super().__init__()
        self.stop = ""
        self._residuals = residuals
        self._epoch = arguments.count("epoch", epoch)
        self._planned = None if iterations is None else arguments.count("iterations", iterations)
        self._iterations = 0  # of the first phase, since its rule was last asked
        self._points: Any = None

    def on_train_begin(self) -> None:
        """Check the model, plan the run and take over the model's step.

        A convex phase that goes on evaluates its point again: points and weights may be others than in the last training.

        Raises:
            ValueError: If the model was not compiled with one of our optimizers, or that lacks one of its
                ``external_trainable_variables``, or it is trained on mini-batches, or ``residuals`` was asked for and they do
                not make up the loss.
        """
        model, self.stop = self.model, ""
        _check(model)
        plan_further(model.opt, self._planned)
        renew(model.opt)
        self._points = model.train_state.X_train
        objective = self._objective()
        self._closure_step = closure_step = model.train_step

        def train_step(inputs: Any, targets: Any, auxiliary: Any) -> None:
            self._notice(inputs, objective)
            if objective is None or not in_second_phase(model.opt):
                closure_step(inputs, targets, auxiliary)
            else:
                model.opt.step(objective)

        model.train_step = train_step

    def on_epoch_end(self) -> None:
        """Close an epoch of a TwoPhase; end training if the convex phase has stopped."""
        optimizer = self.model.opt
        self._iterations += 1
        if in_second_phase(optimizer) or self._iterations >= self._epoch:
            self.stop = end_epoch(optimizer, passes=self._iterations)
            self._iterations = 0
            if self.stop:
                self.model.stop_training = True
                self.stop += _remedy(optimizer)
                _take_stock(self.model)

    def on_train_end(self) -> None:
        """Give the model its own step back, and say why training ended if the convex phase did it."""
        self.model.train_step = self._closure_step
        if self.stop:
            print(self.stop)

    def _objective(self) -> LeastSquares | None:
        """The residuals, if they are wanted and make up the model's training loss."""
        if self._residuals is False:
            return None
        model, state = self.model, self.model.train_state
        losses = model.outputs_losses_train(state.X_train, state.y_train, state.train_aux_vars)[1]
        expected = float(losses.detach().sum())
        try:
            objective = least_squares(model, model.opt.meter if isinstance(model.opt, TwoPhase) else None)
            found = objective.loss()
        except (TypeError, ValueError, RuntimeError) as error:
            why = str(error)
        else:
            if math.isclose(found, expected, rel_tol=_AGREE):
                return objective
            why = f"their weighted mean squares are {found:g}, the training loss is {expected:g}"
        if self._residuals:
            raise ValueError(f"the model's residuals cannot stand for its loss: {why}. Leave out residuals=True")
        return None

    def _notice(self, inputs: Any, objective: LeastSquares | None) -> None:
        """Tell the method if the points are others than at the last step."""
        if inputs is self._points:
            return
        self._points = inputs
        renew(self.model.opt)


def _check(model: deepxde.Model) -> None:
    """Refuse a model that its optimizer does not fit, and mini-batches."""
    if not is_ours(model.opt):
        raise ValueError(f"compile the model with a TwoPhase or a Descent, not with {model.opt_name!r}, to use HomeStretch")
    if model.batch_size is not None:
        raise ValueError(f"the convex phase needs all points at every iteration: leave out batch_size={model.batch_size}")
    fitted = {id(p) for group in model.opt.param_groups for p in group["params"]}
    for i, variable in enumerate(model.external_trainable_variables):
        if id(variable) not in fitted:
            raise ValueError(
                f"external_trainable_variables[{i}] = {variable.tolist()} is not among the optimizer's parameters and would "
                "never be fitted: make the optimizer of [*model.net.parameters(), ...] with these variables in it"
            )


def _take_stock(model: deepxde.Model) -> None:
    """Bring what DeepXDE tells up to the end: it looks every ``display_every`` steps and after the last one planned."""
    if model.losshistory.steps[-1] != model.train_state.step:
        model._test(verbose=0)


def _remedy(optimizer: Optimizer) -> str:
    """What to add to a stop at the level of rounding where that is float32's: the objective is out of the user's hands."""
    method = convex_method(optimizer)
    if method is None or method.stop_reason not in _ROUNDING or deepxde.config.default_float() == "float64":
        return ""
    return '. In DeepXDE call deepxde.config.set_default_float("float64") before data and network are made'


def _as_inputs(points: Any) -> Any:
    if isinstance(points, tuple):
        return tuple(torch.as_tensor(x).requires_grad_() for x in points)
    return torch.as_tensor(points).requires_grad_()
