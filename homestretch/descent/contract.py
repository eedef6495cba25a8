"""What torch asks of an optimizer: parameters, groups, state, reloading, gradients found where closures leave them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from homestretch import vectors
from homestretch.descent.functions import Functions
from homestretch.descent.intake import check_parameter, check_whole, names_of
from homestretch.descent.limits import Limits
from homestretch.descent.stop import StopReason
from homestretch.descent.watch import Watch
from homestretch.directions.base import Direction, Memory
from homestretch.errors import UnsupportedError
from homestretch.objective.base import Function
from homestretch.packing import pack, unpack
from homestretch.pickling import whole_state
from homestretch.preconditioners import Identity, Inverse, Preconditioner, inverse_for
from homestretch.vectors import Vector

_SCALARS = "descent"  # the key in the first parameter group that holds all scalars


def _fresh_scalars() -> dict[str, Any]:
    return {"iteration": 0, "function_version": -1, "since_best": 0, "spent": 0.0, "elapsed": 0.0, "stop": "", "renewals": 0}


class TorchContract(Optimizer):
    """The part of :class:`~homestretch.descent.loop.Descent` that deals with torch.

    Attributes:
        scalars: All numbers and strings that survive a reload.
        memory: All vectors that do.
    """

    direction: Direction
    preconditioner: Preconditioner
    limits: Limits

    # torch.amp.GradScaler then hands its scale over as an attribute, so that it can be refused however it is used
    _step_supports_amp_scaling = True

    def __init__(self, params: Any, *, maximize: bool) -> None:
        self._bound = False
        self._changed = ""  # what changed since the latest record
        super().__init__(params, {"maximize": maximize})
        self.param_groups[0].setdefault(_SCALARS, _fresh_scalars())
        self._sign = -1.0 if maximize else 1.0
        self._functions = Functions(maximize=maximize)
        self._watch = Watch()

    @property
    def maximize(self) -> bool:
        """Whether the function is maximised."""
        return self._sign < 0.0

    @property
    def scalars(self) -> dict[str, Any]:
        """All numbers and strings that survive a reload."""
        return self.param_groups[0][_SCALARS]

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable parameters, over all groups in order."""
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the loop stopped; ``None`` while it goes on."""
        name = self.scalars["stop"]
        return StopReason[name] if name else None

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; everything learned about the old ones alone is forgotten.

        Raises:
            ValueError: If the group asks for ``maximize`` and the optimizer does not, or the other way round.
        """
        if isinstance(param_group, dict):  # what is none torch refuses
            self._refuse_other_sign("the group has", param_group)
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            check_parameter(p)
        if self._bound:
            self.restart()

    def state_dict(self) -> dict[str, Any]:
        """The state as torch keeps it, with the gradient at the current point, so that a reload needs no evaluation."""
        self.scalars["direction"] = self.direction.name
        if self._bound:
            self.direction.flush()
            current = self._watch.gradient()
            for i, p in enumerate(self.memory.parameters):
                held = current[i] if current else None
                self.state[p]["gradient"] = torch.zeros_like(p) if held is None else held.detach()
            moved = current is None or self._watch.moved(self.memory.parameters)
            self.scalars["fingerprint"] = math.nan if moved else self._fingerprint()
            self.scalars["held"] = names_of(self.state[p] for p in self.memory.parameters)
        packed = super().state_dict()
        packed["param_groups"][0][_SCALARS] = pack(self.scalars)
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state; the next step goes on bit for bit if the parameters are those it was saved with.

        Raises:
            ValueError: If the state is not one of this kind of optimizer, its parameters differ, or it lacks vectors.
        """
        groups = state_dict.get("param_groups") or [{}]
        if _SCALARS not in groups[0]:
            raise ValueError("state_dict is not that of a homestretch Descent: was it saved from another optimizer?")
        scalars = unpack(groups[0][_SCALARS])
        state_dict = {**state_dict, "param_groups": [{**groups[0], _SCALARS: scalars}, *groups[1:]]}
        saved, own = scalars.get("direction"), self.direction.name
        if saved is not None and saved != own:  # older states do not name it
            raise ValueError(f"the state was saved by the method {saved}, and this is {own}: load it into what wrote it")
        check_whole(scalars.get("held", ()), state_dict["state"].values())
        self._refuse_other_sign("the state was saved with", groups[0])
        super().load_state_dict(state_dict)
        self._bound = False
        self._watch.forget()
        if self.state:
            self._bind()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the closure, for copies and pickles, with what a reload needs."""
        self.state_dict()
        return {**whole_state(self), "_functions": Functions(maximize=self._sign < 0.0)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on as after a reload: vectors of a copy may no longer share their memory."""
        super().__setstate__(state)
        self._bound = False
        self._watch.forget()

    def restart(self) -> None:
        """Forget everything: state, records of the current point, why it stopped.

        Settings and history stay, and how often the function was said to have changed: that is the function's, not the run's.
        """
        self.state.clear()
        self.param_groups[0][_SCALARS] = {**_fresh_scalars(), "renewals": self.scalars.get("renewals", 0)}
        self._functions.known = None
        self._bound = False

    # --- binding ---

    def _bind(self) -> None:
        """Allocate the state, once the first step (or a loaded state) asks for it."""
        parameters = self.parameters
        if self._bound and not _same(parameters, self.memory.parameters):
            self._begin_with(parameters)
        if self._bound:
            self._local = vectors.locals_of(parameters)
            if all(t.dtype == b.dtype for t, b in zip(self._local, self._start_buffer, strict=True)):
                return
            self._cast_state()
        if not parameters:
            raise ValueError("params holds no parameter with requires_grad: there is nothing to optimise")
        self._local = vectors.locals_of(parameters)
        self._groups = vectors.shard_groups(parameters)
        self.memory = Memory(parameters, self.state, self.scalars)
        if self.memory.get("inverse_diagonal") is None:
            self._take_preconditioner()
        self.direction.bind(self.memory)
        self._start_buffer = vectors.clone(self._local)
        self._gradient_buffer = vectors.zeros_like(self._local)
        self._watch.forget()
        self._bound = True

    def _begin_with(self, parameters: Sequence[Tensor]) -> None:
        """Begin anew with other parameters; what was spent, and the preconditioner where it knows them, stay."""
        held = self.memory.get("inverse_diagonal")
        known = {} if held is None else {id(p): d for p, d in zip(self.memory.parameters, held, strict=True)}
        kept = {name: self.scalars.get(name, 0) for name in ("iteration", "spent", "elapsed", "renewals")}
        self.restart()
        self.scalars.update(kept)
        self._changed = "other parameters are trainable now: what was learned is forgotten"
        if known and all(id(p) in known for p in parameters):
            self.preconditioner = Inverse([vectors.local(known[id(p)]) for p in parameters])
        elif known:
            self.preconditioner = Identity()
            self._changed += ", the preconditioner too, which does not know all of them"

    def _take_preconditioner(self) -> None:
        """Put the preconditioner into the state, in the parameters' dtype."""
        inverse = inverse_for(self.preconditioner, self._local)
        if inverse is not None:
            self.memory.set("inverse_diagonal", inverse)

    def _cast_state(self) -> None:
        """The parameters have another dtype: so has the state, and what the direction has learned stays."""
        self.direction.flush()
        for p in self.memory.parameters:
            self.state[p] = {name: t.to(p.dtype) if t.is_floating_point() else t for name, t in self.state[p].items()}
        self.scalars.pop("rounding", None)
        self.scalars["recast"] = str(self._local[0].dtype).removeprefix("torch.")

    def _refuse_scaler(self) -> None:
        if getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None:
            raise UnsupportedError(
                "GradScaler cannot drive a line search: it scales one backward pass a step, a search makes several. Use bf16 "
                "autocast (no scaler needed) or float32 for the convex phase, and call optimizer.step(closure) yourself"
            )

    def _function(self, closure: Any) -> Function:
        """What the user handed to ``step``, as a function.

        Raises:
            TypeError: If it cannot be called.
            UnsupportedError: If it is an objective over other parameters than ours: these would never move.
        """
        known = self._functions.known
        function = self._functions.of(closure, list(self.memory.parameters))
        if closure is not known:
            self._refuse_clocks(closure)
            covered = getattr(closure, "parameters", None)
            owned = {id(p) for p in covered} if isinstance(covered, (list, tuple)) else None
            missing = [p for p in self.memory.parameters if owned is not None and id(p) not in owned]
            if missing:
                self._functions.known = None  # so that it is looked at again if it comes again
                raise UnsupportedError(
                    f"{self._name(missing[0])} is the optimizer's, but not one of the parameters of {type(closure).__name__} "
                    f"({len(missing)} of {len(self.memory.parameters)} are not): register it on the module that the objective "
                    "was made with, make the objective anew if it was frozen then, or leave it out of the optimizer"
                )
        return function

    def _refuse_other_sign(self, whose: str, group: dict[str, Any]) -> None:
        """One function of all parameters is either minimised or maximised."""
        own = bool(self.defaults["maximize"])
        if bool(group.get("maximize", own)) is not own:
            raise ValueError(f"maximize: {whose} {not own}, the optimizer {own}: make it with maximize={not own}")

    def _refuse_clocks(self, closure: Any) -> None:
        """Every rank has a clock of its own, and they would stop at different iterations."""
        if self.limits.seconds is not None and (self._groups or getattr(closure, "group", None) is not None):
            raise UnsupportedError("seconds cannot end a run over several ranks, whose clocks differ: give a budget instead")

    def _refuse_no_gradient(self) -> None:
        if all(p.grad is None for p in self.memory.parameters):
            raise UnsupportedError(
                "no parameter has a gradient after the closure was called: it must call loss.backward(), on a loss that "
                "depends on the optimizer's parameters"
            )

    def _gradient(self) -> Vector:
        """Local parts of ``.grad``; parameters that the loss does not use have a zero gradient."""
        found = []
        for p in self.memory.parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            if p.grad.layout != torch.strided:
                raise UnsupportedError(
                    f"{self._name(p)} has a sparse gradient ({p.grad.layout}): the convex phase needs dense ones. Build the "
                    "embedding with sparse=False"
                )
            found.append(vectors.local(p.grad))
        return found

    def _fingerprint(self) -> float:
        """A number that tells the current parameters from others."""
        return vectors.dot(self._local, self._local, self._groups)

    # --- messages ---

    def _name(self, parameter: Tensor) -> str:
        for group in self.param_groups:
            for i, p in enumerate(group["params"]):
                if p is parameter:
                    names = group.get("param_names")
                    return f"parameter {names[i] if names else i} of shape {tuple(p.shape)}"
        return "a parameter"


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
