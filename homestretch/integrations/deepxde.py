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

from homestretch.cost import CostMeter
from homestretch.integrations.common import end_epoch, in_second_phase, is_ours, missing
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

    Attributes:
        stop: Why the convex phase ended training; empty if it did not.
    """

    model: Any

    def __init__(self, residuals: bool | None = None, epoch: int = 100) -> None:
        super().__init__()
        if epoch < 1:
            raise ValueError(f"epoch must be a positive number of iterations, got {epoch}")
        self.stop = ""
        self._residuals = residuals
        self._epoch = epoch
        self._iterations = 0  # of the first phase, since its rule was last asked
        self._points: Any = None

    def on_train_begin(self) -> None:
        """Check the model and take over its step.

        Raises:
            ValueError: If the model was not compiled with one of our optimizers, or is trained on mini-batches, or
                ``residuals`` was asked for and they do not make up the loss.
        """
        model, self.stop = self.model, ""
        if not is_ours(model.opt):
            raise ValueError(f"compile the model with a TwoPhase or a Descent, not with {model.opt_name!r}, to use HomeStretch")
        if model.batch_size is not None:
            raise ValueError(f"the convex phase needs all points at every iteration: leave out batch_size={model.batch_size}")
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
            if isinstance(optimizer, TwoPhase) and optimizer.phase == "first":
                optimizer.meter.count_gradient(
                    self._iterations - 1
                )  # end_epoch counts one pass, and here each iteration is one
            self._iterations = 0
            self.stop = end_epoch(optimizer)
            self.model.stop_training = self.model.stop_training or bool(self.stop)

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
        optimizer = self.model.opt
        if in_second_phase(optimizer):
            (optimizer.second if isinstance(optimizer, TwoPhase) else optimizer).renew()


def _as_inputs(points: Any) -> Any:
    if isinstance(points, tuple):
        return tuple(torch.as_tensor(x).requires_grad_() for x in points)
    return torch.as_tensor(points).requires_grad_()
