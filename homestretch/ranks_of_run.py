"""A run over several ranks: each has a folder of its own, and they save, stop and go on together."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from homestretch.objective import AnyObjective
from homestretch.objective.ranks import Group, of_each, ranks_where, together


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run; one process alone is rank 0.

    Attributes:
        group: The group that the data are spread over.
        device: Where the parameters are.
    """

    group: Group
    device: torch.device

    @classmethod
    def of(cls, objective: AnyObjective) -> Ranks:
        """Those that share an objective."""
        return cls(getattr(objective, "group", None), objective.parameters[0].device)

    def folder(self, out: Any) -> Path:
        """Where this rank writes: rank 0 into ``out`` itself, the others into ``rank1``, ``rank2``, ... in it."""
        rank = 0 if self.group is None else dist.get_rank(self.group)
        return Path(out) / f"rank{rank}" if rank else Path(out)

    def any(self, condition: bool) -> bool:
        """Whether something is so on one of them at least."""
        return bool(ranks_where(condition, self.group, self.device))

    def first(self, condition: bool) -> bool:
        """Whether something is so on rank 0, whose clock counts."""
        return 0 in ranks_where(condition, self.group, self.device)

    def least(self, value: int) -> int:
        """The lowest of the ranks' numbers."""
        return int(min(of_each(float(value), self.group, self.device)))

    def together(self, work: str) -> AbstractContextManager[None]:
        """Raise an error of one rank on all of them."""
        return together(work, self.group, self.device)
