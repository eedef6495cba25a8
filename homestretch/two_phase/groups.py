"""Groups and state of another optimizer, shown as one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from homestretch.errors import UnsupportedError


class SharedGroups(Optimizer):
    """An optimizer whose parameter groups and state are those of another one, ``first``, once that is known.

    Schedules may then hold either, whatever is loaded into the other one.
    """

    first: Optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of ``first``."""
        return self.first.param_groups if "first" in self.__dict__ else self._given

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self._given = groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of ``first``."""
        return self.first.state if "first" in self.__dict__ else self._empty

    @state.setter
    def state(self, state: Any) -> None:
        self._empty = state


def ids(optimizer: Optimizer) -> list[int]:
    """The identities of an optimizer's parameters, in order."""
    return [id(p) for group in optimizer.param_groups for p in group["params"]]


def check_same_parameters(first: Optimizer, given: Sequence[int]) -> None:
    """Refuse a first optimizer over other parameters; their order is its own.

    Args:
        first: The first optimizer.
        given: The identities of the parameters that are to be optimised.

    Raises:
        ValueError: If it lacks some or has others.
    """
    found, wanted = set(ids(first)), set(given)
    if found != wanted:
        raise ValueError(
            f"first must optimise the same parameters as the convex phase: of {len(wanted)} it lacks {len(wanted - found)}, "
            f"and it has {len(found - wanted)} others. Freeze what shall not be trained (requires_grad_(False)), and "
            "register all that shall on the model"
        )


def check_trainable(first: Optimizer, count: int, known: Sequence[Tensor]) -> None:
    """Refuse what the convex phase would not move: parameters that came, or were unfrozen, since the optimizer was made.

    Args:
        first: The first optimizer.
        count: How many parameters it had.
        known: Those that were trainable.

    Raises:
        UnsupportedError: If there are such parameters.
    """
    if len(ids(first)) != count:
        raise UnsupportedError("first has other parameters than at the start, which the convex phase would not move")
    before = {id(p) for p in known}
    unfrozen = [p for group in first.param_groups for p in group["params"] if p.requires_grad and id(p) not in before]
    if unfrozen:
        raise UnsupportedError(
            f"{len(unfrozen)} parameters (the first of shape {tuple(unfrozen[0].shape)}) were frozen when TwoPhase was made "
            "and are trainable now, which the convex phase would not move: unfreeze all that shall be trained before it is made"
        )
