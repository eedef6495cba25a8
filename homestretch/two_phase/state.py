"""The state of a TwoPhase, in the form that torch gives an optimizer's state.

Vectors of the convex phase stand beside the first optimizer's, under ``second/NAME``; everything else is in
``two_phase`` in the first parameter group (see `homestretch.packing`). So whatever saves a torch optimizer saves all of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from homestretch import vectors
from homestretch.objective import LeastSquares, Objective
from homestretch.packing import pack, unpack
from homestretch.swap import Never, default_rule

if TYPE_CHECKING:
    from homestretch.two_phase.optimizer import TwoPhase

_KEY = "two_phase"
_WITH_STATE = (Objective, LeastSquares)
_PREFIX = "second/"
_KEPT = "kept/parameter"
_ROUNDED = 1e-6  # squared norms that differ by no more are of one point in two dtypes


def save(optimizer: TwoPhase) -> dict[str, Any]:
    """The state of both phases."""
    packed = optimizer.first.state_dict()
    packed = {**packed, "state": {k: dict(v) for k, v in packed["state"].items()}}
    packed["param_groups"] = [dict(g) for g in packed["param_groups"]]
    about: dict[str, Any] = {
        "first": type(optimizer.first).__name__,
        "phase": optimizer.phase,
        "epochs": optimizer.epochs,
        "first_epochs": optimizer.first_epochs,
        "first_steps": optimizer.first_steps,
        "swap_epoch": optimizer.swap_epoch,
        "swap_reason": optimizer.swap_reason,
        "rule": optimizer.rule.state_dict(),
        "planned": optimizer.budget if optimizer.planned else None,
        "resort": optimizer.resort.state_dict(),
        "inspection": optimizer.inspection.state_dict() if optimizer.inspection is not None else None,
        "objective": optimizer.objective.state_dict() if isinstance(optimizer.objective, _WITH_STATE) else None,
        "growing": optimizer.growing.state_dict() if optimizer.growing is not None else None,
        "meter": optimizer.meter.state_dict(),
        "before": list(optimizer.before),
        "method": optimizer.convex.chosen,
        "method_reason": optimizer.convex.reason,
        "promoted": optimizer.promotion is not None and optimizer.promotion.active,
    }
    about["kept"] = {"loss": optimizer.kept.loss, "version": optimizer.kept.version}
    for number, kept in zip(_trainable_numbers(optimizer), optimizer.kept.parameters, strict=False):  # none or all
        packed["state"].setdefault(number, {})[_KEPT] = kept
    if optimizer.allocated:
        optimizer.prepare_second()
    if optimizer.phase == "second" or optimizer.allocated:
        second = optimizer.second.state_dict()
        numbers = _trainable_numbers(optimizer)
        for key, entry in second["state"].items():
            packed["state"].setdefault(numbers[key], {}).update({_PREFIX + name: value for name, value in entry.items()})
        about["second"] = {k: v for k, v in second["param_groups"][0].items() if k not in ("params", "param_names")}
    packed["param_groups"][0][_KEY] = pack(about)
    return packed


def load(optimizer: TwoPhase, packed: dict[str, Any]) -> None:
    """Put a saved state back.

    Raises:
        ValueError: If it is none of a TwoPhase, or one of another first optimizer, method, growth or rule.
    """
    groups = packed.get("param_groups") or [{}]
    if _KEY not in groups[0]:
        raise ValueError("state_dict is not that of a TwoPhase: load an optimizer's own state into optimizer.first instead")
    packed = _numbered(packed)
    groups = packed["param_groups"]
    about = unpack(groups[0][_KEY])
    first_state = {
        k: {n: v for n, v in entry.items() if not n.startswith(_PREFIX) and n != _KEPT} for k, entry in packed["state"].items()
    }
    first_groups = [{k: v for k, v in g.items() if k != _KEY} for g in groups]
    _check_same(optimizer, about)
    long = _long_values(optimizer, about)
    if optimizer.promotion is not None:
        optimizer.promotion.undo()  # the first optimizer's state is cast to the parameters' dtype
    load_first(optimizer, {"state": {k: v for k, v in first_state.items() if v}, "param_groups": first_groups})
    optimizer.phase, optimizer.allocated = str(about["phase"]), False
    optimizer.epochs = int(about["epochs"])
    optimizer.first_epochs = int(about["first_epochs"])
    optimizer.first_steps = int(about["first_steps"])
    optimizer.swap_epoch = about["swap_epoch"]
    optimizer.swap_reason = str(about["swap_reason"])
    _take_plan(optimizer, about)
    stays = _stays_in_first(optimizer, about)
    if not stays:
        optimizer.rule.load_state_dict(about["rule"])
    optimizer.resort.load_state_dict(about["resort"])
    if optimizer.inspection is not None and about["inspection"] is not None:
        optimizer.inspection.load_state_dict(about["inspection"])
        if stays:
            optimizer.inspection.memory.proposal = ""  # which would be carried out without asking the rule
    if isinstance(optimizer.objective, _WITH_STATE) and about["objective"] is not None:
        optimizer.objective.load_state_dict(about["objective"])
    if optimizer.growing is not None and about["growing"] is not None:
        optimizer.growing.load_state_dict(about["growing"])
    optimizer.meter.load_state_dict(about["meter"])
    optimizer.take_counts(about.get("before", (0.0, 0.0)))
    optimizer.convex.recall(str(about.get("method", "")), str(about.get("method_reason", "")))
    found = [packed["state"].get(number, {}).get(_KEPT) for number in _trainable_numbers(optimizer)]
    optimizer.kept.load(about["kept"], [t.clone() for t in found if t is not None])
    optimizer.mean.reset()  # the epoch that it holds a part of is not gone on with
    if about["promoted"] and optimizer.promotion is not None:
        optimizer.promotion.apply(check=False)
        if long:
            vectors.copy_(vectors.locals_of(optimizer.trainable), long)
    if optimizer.phase == "second":
        numbers = _trainable_numbers(optimizer)
        second_state = {
            key: {n.removeprefix(_PREFIX): v for n, v in packed["state"].get(number, {}).items() if n.startswith(_PREFIX)}
            for key, number in enumerate(numbers)
        }
        group = {**about["second"], "params": list(range(len(numbers)))}
        optimizer.second.load_state_dict({"state": second_state, "param_groups": [group]})


def _check_same(optimizer: TwoPhase, about: dict[str, Any]) -> None:
    """Refuse a state that this optimizer would go on with as another one; older states do not name their first optimizer."""
    saved, given = about.get("first"), type(optimizer.first).__name__
    if saved is not None and saved != given:
        raise ValueError(f"the state was saved with {saved} as first, and first is {given} now: give what wrote it")
    grew, grows = about["growing"] is not None, optimizer.growing is not None
    if grew != grows:
        kinds = {True: "with growth", False: "without growth"}
        raise ValueError(f"the state was saved {kinds[grew]}, and the objective is {kinds[grows]} now: make it {kinds[grew]}")
    if about["promoted"] and optimizer.promotion is None:
        raise ValueError("the state was saved from a promoted convex phase: make this TwoPhase with promote=True")


def _long_values(optimizer: TwoPhase, about: dict[str, Any]) -> list[Tensor]:
    """The parameters of a promoted convex phase, which going back to their own dtype for a moment would round.

    Raises:
        ValueError: If those that belong to the state have been rounded already.
    """
    if not about["promoted"] or optimizer.promotion is None:
        return []
    if optimizer.promotion.active:
        return vectors.clone(optimizer.trainable)
    saved = float(unpack(about["second"]["descent"]).get("fingerprint", math.nan))
    as_long = [p.detach().double() for p in optimizer.trainable]
    own = vectors.dot(as_long, as_long)
    if own != saved and math.isclose(own, saved, rel_tol=_ROUNDED):
        raise ValueError(
            "the state is of a convex phase in float64, and the model's parameters were rounded to their own dtype when they "
            "were loaded: load the optimizer first, which makes them long, and then the model"
        )
    return []


def _stays_in_first(optimizer: TwoPhase, about: dict[str, Any]) -> bool:
    """Whether a run in its first phase is to stay there: that is how one goes on that was refused at the swap."""
    return type(optimizer.rule) is Never and about["phase"] == "first"


def _numbered(packed: dict[str, Any]) -> dict[str, Any]:
    """The state by the parameters' numbers: torch's distributed checkpoints keep it by their names."""
    names = [name for group in packed["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in packed["param_groups"]]
    return {**packed, "state": {numbers[name]: entry for name, entry in packed["state"].items()}, "param_groups": groups}


def _take_plan(optimizer: TwoPhase, about: dict[str, Any]) -> None:
    """The plan that the state was saved under, unless there is one already, and the rule that was chosen by it."""
    if optimizer.budget is None and about["planned"] is not None:
        optimizer.budget, optimizer.planned = about["planned"], True
    chosen = about["rule"].get("rule")
    if optimizer.own_rule and chosen != optimizer.rule.name:
        rules = (default_rule(None), default_rule(optimizer.budget or 1.0))
        optimizer.rule = next((rule for rule in rules if rule.name == chosen), optimizer.rule)


def load_first(optimizer: TwoPhase, saved: dict[str, Any]) -> None:
    """Put the first optimizer back to a state of its own, bit for bit."""
    optimizer.first.load_state_dict(saved)
    _keep_dtypes(optimizer, saved["state"])


def _keep_dtypes(optimizer: TwoPhase, saved: dict[int, dict[str, Any]]) -> None:
    """Numbers as they were saved: torch casts them to the parameter's dtype, after which NAdam goes on by other roundings."""
    everything = [p for g in optimizer.first.param_groups for p in g["params"]]
    for number, entry in saved.items():
        held = optimizer.first.state[everything[number]]
        for name, value in entry.items():
            if isinstance(value, Tensor) and value.ndim == 0 and held[name].dtype != value.dtype:
                held[name] = value.to(held[name].device, copy=True)


def _trainable_numbers(optimizer: TwoPhase) -> list[int]:
    """For each parameter of the convex phase, its number among all parameters."""
    numbers = {id(p): i for i, p in enumerate(p for g in optimizer.first.param_groups for p in g["params"])}
    return [numbers[id(p)] for p in optimizer.trainable]
