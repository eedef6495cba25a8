"""Groups and state of another optimizer, shown as one's own."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer


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
