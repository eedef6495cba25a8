"""Residual terms as one vector: how they are ordered, and which points they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from homestretch.objective.graphs import GraphFree
from homestretch.objective.points import count_points


@dataclass(frozen=True)
class Group:
    """Terms over the same points.

    Attributes:
        names: The terms.
        count: The number of points, 0 where the terms' first dimension is not it.
        size: The number of residuals of all terms.
        place: The set of points in a dictionary of such; empty where all points are one set.
    """

    names: tuple[str, ...]
    count: int
    size: int
    place: str


class Stacking(GraphFree, ABC):
    """Base of objectives whose residuals come as terms by name.

    Attributes:
        points: Where the residuals are taken.
    """

    points: Any
    _count = 0  # residuals at the latest stacking

    @abstractmethod
    def evaluate(self, points: Any) -> dict[str, Tensor]:
        """The residuals of each term at ``points``, neither weighted nor scaled."""

    @abstractmethod
    def scale(self, name: str, residual: Tensor) -> float:
        """What the residuals of a term are multiplied by."""

    def forward(self, points: Any) -> dict[str, Tensor]:
        """The residuals of each term by a forward pass, detached.

        A residual function that differentiates the network by ``torch.autograd.grad`` needs the graph for it even so.
        """
        return {name: r.detach() for name, r in self.without_graph(lambda: self.evaluate(points)).items()}

    @property
    def residual_count(self) -> int:
        """Number of residuals at the latest stacking, over all terms."""
        return self._count or len(self.stacked())

    def stacked(self) -> Tensor:
        r""":math:`\rho`, differentiable where gradients are enabled; not counted."""
        terms = self.evaluate(self.points) if torch.is_grad_enabled() else self.forward(self.points)
        scaled = {name: r * self.scale(name, r) for name, r in terms.items()}
        pieces = []
        for group in self.groups(scaled):
            members = [scaled[name] for name in group.names]
            if group.count:
                pieces.append(torch.cat([r.reshape(group.count, -1) for r in members], 1).reshape(-1))
            else:
                pieces += [r.reshape(-1) for r in members]
        rho = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        self._count = len(rho)
        return rho

    def groups(self, terms: Mapping[str, Tensor]) -> list[Group]:
        """Terms with their points: those of one set together, or all terms where all points are one set."""
        named = isinstance(self.points, dict) and terms.keys() <= self.points.keys()
        if named or (isinstance(self.points, dict) and not _common(terms.values(), self.points)):
            members: dict[str, list[str]] = {}
            for name, place in places(terms, self.points).items():
                members.setdefault(place, []).append(name)
            if "" not in members:
                return [self._group(names, terms, place, self.points[place]) for place, names in members.items()]
        return [self._group(list(terms), terms, "", self.points)]

    @staticmethod
    def _group(names: list[str], terms: Mapping[str, Tensor], place: str, points: Any) -> Group:
        mine = [terms[name] for name in names]
        return Group(tuple(names), _common(mine, points), sum(r.numel() for r in mine), place)


def places(terms: Mapping[str, Tensor], points: Mapping[str, Any]) -> dict[str, str]:
    """The set of points of each term; empty where it is not known.

    It is the set with the term's name, or else the only one of the term's length that no term is named after: the equations of
    a system have one set.
    """
    free = {} if terms.keys() <= points.keys() else {n: count_points(part) for n, part in points.items() if n not in terms}
    found = {}
    for name, r in terms.items():
        fitting = [place for place, count in free.items() if count and r.ndim and len(r) == count]
        found[name] = name if name in points else fitting[0] if len(fitting) == 1 else ""
    return found


def _common(terms: Iterable[Tensor], points: Any) -> int:
    """The number of points if the first dimension of every term counts them, else 0."""
    count = 0 if points is None else count_points(points)
    return count if count and all(r.ndim and len(r) == count for r in terms) else 0
