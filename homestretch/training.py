"""fit(): a whole two-phase run in one line, with records, checkpoints and callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from homestretch import arguments, checkpoint, plain
from homestretch.errors import CheckpointError, UnsupportedError
from homestretch.objective import AnyObjective, LeastSquares, Objective
from homestretch.objective.batch_loss import Compute, Loss, pair
from homestretch.objective.batches import as_batches
from homestretch.objective.graphs import GraphFree
from homestretch.objective.modes import full_pass_mode
from homestretch.objective.progressive import Growth
from homestretch.objective.statistics import tracking_layers
from homestretch.promotion import cast_floats
from homestretch.ranks_of_run import Ranks
from homestretch.running import RECORD, Callback, FitResult, Progress, Run
from homestretch.same_run import traits
from homestretch.swap import Never
from homestretch.two_phase import TwoPhase

__all__ = ["RECORD", "Callback", "FitResult", "Metric", "Progress", "evaluate", "fit"]

Metric = Callable[[Any, Any], Tensor | float]
_PASSED_ON = set(signature(TwoPhase).parameters) - {"params", "objective", "first", "second", "budget", "metrics"}


def fit(
    model: nn.Module,
    loss: Loss | AnyObjective,
    data: Any = None,
    *,
    epochs: int | None = None,
    budget: float | None = None,
    first: Callable[[list[Tensor]], Optimizer] | None = None,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    second: Any = "auto",
    validation: Any = None,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    mode: str = "eval",
    dropout: str = "off",
    growth: Growth | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 0.0,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> FitResult:
    """Train ``model``: mini-batches first, the convex phase after the swap.

    Example:
        >>> result = fit(model, torch.nn.functional.mse_loss, (inputs, targets), epochs=200)

    Args:
        model: The model, trained in place.
        loss: ``loss(outputs, targets)``, the mean over the batch; or a :class:`~homestretch.objective.LeastSquares` over
            ``model``, whose residuals are one batch; or an :class:`~homestretch.objective.Objective` over it, with a
            ``compute`` of its own for instance.
        data: A pair of tensors, a map-style ``Dataset`` or a ``DataLoader``; nothing beside an objective.
        epochs: Epochs to make; after the swap one epoch is one iteration, which may cost several gradient-equivalents. Without
            ``budget`` the rules plan with as many gradient-equivalents as epochs, but the run may cost more.
        budget: Cost to spend, in gradient-equivalents. At least one of ``epochs`` and ``budget`` must be given.
        first: ``first(parameters) -> Optimizer``; Adam with learning rate 1e-3 by default.
        schedule: ``schedule(optimizer) -> LRScheduler``, stepped after each epoch of the first phase.
        second: ``"auto"``, ``second(parameters) -> Descent``, or ``None`` for the first phase alone, whatever the rule. A run
            that was refused at the swap can be gone on with by ``resume`` and ``None``.
        validation: Data like ``data``, evaluated after each epoch (not counted as cost).
        metrics: Name to ``metric(outputs, targets)``, a mean over the batch; evaluated on the validation data. ``"loss"`` is
            taken, by the loss.
        batch_size: Samples in a mini-batch; 512 by default, or the loader's.
        micro_batch: Samples in one piece of a full pass.
        mode: What batch norm does in full passes, ``"eval"`` or ``"train"``; see :class:`~homestretch.objective.Objective`.
        dropout: What dropout does in them, ``"off"`` or ``"fixed"``; likewise.
        growth: How the data of the convex phase grow, if it shall begin on a part of them; likewise.
        seed: Decides the order of the mini-batches; that of an objective is its own.
        out: Folder for the record and a checkpoint after each epoch. Where the objective is spread over the ranks of a process
            group, every rank writes: rank 0 here, the others into ``rank1``, ``rank2``, ... in it.
        resume: Go on from the checkpoint in ``out``, with the same arguments; only ``epochs`` and ``budget`` may be raised.
        save_every: Seconds of work between two checkpoints, for runs whose epochs are short beside the time that one takes
            to write; the last epoch's is always written.
        callbacks: Called after each epoch with a :class:`Progress`; a true result ends the run.
        options: Passed to :class:`~homestretch.two_phase.TwoPhase`: ``rule``, ``resort``, ``gradient_norm``, ...

    Raises:
        TypeError: If an argument is of the wrong type, ``first`` an optimizer and not what makes one, for instance, or of no
            known name.
        ValueError: If neither ``epochs`` nor ``budget`` is given, or an argument is out of range.
        CheckpointError: If ``resume`` finds no checkpoint, a damaged one or that of a run with other arguments; or ``out``
            holds one without it.
    """
    arguments.options("fit()", options, _PASSED_ON)
    epochs, budget = _ends(epochs, budget)
    callbacks = arguments.functions("callbacks", callbacks)
    save_every, seed = arguments.at_least("save_every", save_every, 0.0), arguments.integer("seed", seed)
    _check_metrics(metrics)
    if resume and out is None:
        raise ValueError("resume needs out, the folder with the checkpoint")
    own = {"batch_size": batch_size, "micro_batch": micro_batch, "mode": mode, "dropout": dropout, "growth": growth}
    objective = _objective(model, loss, data, validation, seed, own)
    ranks = Ranks.of(objective)
    folder = None if out is None else ranks.folder(out)
    with ranks.together("out: looking at the folder"):
        _check_out(folder, objective, options.get("history"), resume)
    first_optimizer = _first(first, objective.parameters)
    made_of = traits(objective, first_optimizer) if folder is not None else {}
    if second is None:
        options["rule"], second = Never(), "auto"
    optimizer = TwoPhase(
        objective.parameters,
        objective,
        first=first_optimizer,
        second=second,
        budget=budget,
        metrics=_on_validation(objective, validation, metrics),
        **options,
    )
    if budget is None and epochs is not None:
        optimizer.plan(float(epochs))
    scheduler = _schedule(schedule, first_optimizer)
    run = Run(model, optimizer, scheduler, folder, epochs, budget, callbacks, save_every, made_of, ranks)
    if resume:
        run.resume()
    elif folder is not None:
        optimizer.history.continue_at(folder / RECORD)
    return run.go()


def _ends(epochs: int | None, budget: float | None) -> tuple[int | None, float | None]:
    """The ends of a run as numbers of Python's; a run without an end is refused, or with one before its start."""
    if epochs is None and budget is None:
        raise ValueError("give epochs, budget or both: fit() must know when to end")
    return (
        None if epochs is None else arguments.count("epochs", epochs),
        None if budget is None else float(arguments.positive("budget", budget)),
    )


def _check_out(out: Path | None, objective: AnyObjective, history: Any, resume: bool) -> None:
    """Refuse a folder that is none, whose run would be lost, or that could not hold what the run is."""
    if out is None:
        return
    if history is not None:
        raise ValueError("history: a run with out keeps its record there, and returns it as result.history: leave out history")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, got {out}, which is a file: give another")
    if any(hasattr(p, "to_local") for p in objective.parameters):
        raise UnsupportedError(
            "out: a checkpoint is one file, and these parameters are sharded over several processes: leave out out, loop over "
            "the epochs of a TwoPhase yourself, and save it by torch.distributed.checkpoint"
        )
    if not resume and checkpoint.present(out):
        raise CheckpointError(
            f"out: {out} holds the checkpoint of a run, which would be lost: go on with it by resume=True, give another "
            "folder, or delete it"
        )


def _objective(
    model: nn.Module, loss: Loss | AnyObjective, data: Any, validation: Any, seed: int, own: dict[str, Any]
) -> AnyObjective:
    """The objective that was given in the loss's place, or one of loss and data with what else is its ``own``."""
    if isinstance(data, (LeastSquares, Objective)):
        raise TypeError("data is an objective, which holds the loss, too: give it alone, as in fit(model, objective)")
    if isinstance(loss, (LeastSquares, Objective)):
        usual = {"mode": "eval", "dropout": "off"}
        _check_objective(loss, model, data, validation, alone=all(own[name] == usual.get(name) for name in own))
        return loss
    return Objective(model, loss, data, seed=seed, **own)


def _first(make: Any, parameters: list[Tensor]) -> Optimizer:
    """The first optimizer."""
    if isinstance(make, Optimizer):
        raise TypeError("first must be a function that makes an optimizer, such as lambda p: Adam(p), got an optimizer")
    return Adam(parameters, lr=1e-3) if make is None else make(parameters)


def _check_metrics(metrics: Any) -> None:
    """Refuse metrics that could not be called, or would hide the loss."""
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must map names to functions, got {type(metrics).__name__}: give {{'accuracy': accuracy}}")
    arguments.functions("metrics", list(metrics.values()))
    if "loss" in metrics:
        raise ValueError("metrics: the name 'loss' is taken, by the loss over the validation data: give another")


def _schedule(schedule: Any, first: Optimizer) -> Any:
    """The learning-rate schedule that a user's function makes; ``None`` without one."""
    if schedule is None:
        return None
    if not callable(schedule):
        raise TypeError(
            f"schedule must be a function that makes a schedule, such as lambda o: StepLR(o, 30), got {type(schedule).__name__}"
        )
    made = schedule(first)
    if not callable(getattr(made, "step", None)):
        raise TypeError(f"schedule must return a learning-rate schedule, got {type(made).__name__}")
    return made


def evaluate(
    model: nn.Module, loss: Loss, data: Any, metrics: Mapping[str, Metric] | None = None, compute: Compute = pair
) -> dict[str, float]:
    """Loss and metrics of ``model`` over ``data``, in eval mode: means over the samples.

    Args:
        model: The model.
        loss: ``loss(outputs, targets)``, the mean over the batch.
        data: As for :func:`fit`.
        metrics: Name to ``metric(outputs, targets)``.
        compute: ``compute(model, batch) -> (outputs, targets)`` for batches that are not pairs.

    Returns:
        ``loss`` and one number for each metric.
    """
    batches = as_batches(data, batch_size=None, micro_batch=None)
    functions: dict[str, Metric] = {"loss": loss, **(metrics or {})}
    totals = dict.fromkeys(functions, 0.0)
    double = all(p.dtype == torch.float64 for p in model.parameters())  # also while the convex phase has promoted it
    passes = GraphFree()
    with full_pass_mode(model, "eval"):
        for batch, count in batches.full():
            cast = cast_floats(batch, torch.float64) if double else batch
            outputs, targets = passes.without_graph(lambda: compute(model, cast))  # noqa: B023 - called at once
            outputs = outputs.detach() if isinstance(outputs, Tensor) else outputs
            for name, function in functions.items():
                totals[name] += plain.number(f"metrics[{name!r}]", function(outputs, targets)) * count / len(batches)
    return totals


def _check_objective(objective: AnyObjective, model: nn.Module, data: Any, validation: Any, *, alone: bool) -> None:
    """Refuse what does not go with an objective that holds its own points or data."""
    name = type(objective).__name__
    if objective.model is not model:
        raise ValueError(f"model must be the module that the {name} was made with")
    if isinstance(objective, LeastSquares) and (data is not None or validation is not None):
        raise ValueError("a LeastSquares holds its points: leave data and validation out, and give it held_out=... instead")
    if data is not None or not alone:
        raise ValueError(
            f"the {name} holds its data: leave data, batch_size, micro_batch, mode, dropout and growth out, and give them to it"
        )


def _on_validation(
    objective: AnyObjective, data: Any, metrics: Mapping[str, Metric] | None
) -> Callable[[], dict[str, float]] | None:
    """What is measured after each epoch; in mode ``"train"`` the statistics that eval mode takes lag behind the parameters."""
    if metrics and isinstance(objective, LeastSquares):
        raise ValueError(
            "metrics are evaluated on validation data, which a LeastSquares has none of: watch the residual by its held_out, "
            "measure in callbacks, or make a TwoPhase with metrics=function, which records what that returns by name"
        )
    if data is None and metrics:
        raise ValueError("metrics are evaluated on validation data, and there are none: give validation=(inputs, targets)")
    if data is None or not isinstance(objective, Objective):
        return None
    try:
        as_batches(data, batch_size=None, micro_batch=None)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation: {error}") from error

    def measure() -> dict[str, float]:
        if objective.mode == "train" and tracking_layers(objective.model):
            objective.refresh_statistics()
        found = evaluate(objective.model, objective.sample_loss, data, metrics, objective.compute)
        return {f"validation_{name}": value for name, value in found.items()}

    return measure
