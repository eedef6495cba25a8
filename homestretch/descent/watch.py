"""Noticing what others do to parameters and gradients between two steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import Parameter

_PLAIN = (Tensor, Parameter)


class Watch:
    """Remembers parameters and their gradients by torch's tensor versions, which every write in place raises.

    Parameters are remembered by where their data lie too, for ``p.data = ...`` raises no version. A write into ``p.data`` in
    place cannot be seen.

    Gradients are remembered as tensors too: ``zero_grad`` only lets go of them, and they still belong to the point.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Remember nothing."""
        self._versions: list[tuple[int, int]] = []
        self._gradients: list[Tensor | None] = []
        self._gradient_versions: list[int] = []

    def note(self, parameters: Sequence[Tensor]) -> None:
        """Remember ``parameters`` and their gradients as they are now."""
        self._versions = _places(parameters)
        self._gradients = [p.grad for p in parameters]
        self._gradient_versions = _versions(self._gradients)

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._versions

    def moved(self, parameters: Sequence[Tensor]) -> bool:
        """Whether somebody has written into the parameters, or given them other data."""
        return self._versions != _places(parameters)

    def gradient(self) -> list[Tensor | None] | None:
        """The gradients that were noted, or ``None`` if somebody has written into them."""
        untouched = self._gradients and self._gradient_versions == _versions(self._gradients)
        return self._gradients if untouched else None


def _places(parameters: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Versions and addresses; wrappers such as DTensor, whose data come and go, have no address of their own."""
    return [(p._version, p.data_ptr() if type(p) in _PLAIN else 0) for p in parameters]


def _versions(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if t is None else t._version for t in tensors]
