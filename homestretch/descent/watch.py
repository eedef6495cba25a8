"""Noticing what others do to parameters and gradients between two steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class Watch:
    """Remembers parameters and their gradients by torch's tensor versions, which every write in place raises.

    Gradients are remembered as tensors too: ``zero_grad`` only lets go of them, and they still belong to the point.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Remember nothing."""
        self._versions: list[int] = []
        self._gradients: list[Tensor | None] = []
        self._gradient_versions: list[int] = []

    def note(self, parameters: Sequence[Tensor]) -> None:
        """Remember ``parameters`` and their gradients as they are now."""
        self._versions = [p._version for p in parameters]
        self._gradients = [p.grad for p in parameters]
        self._gradient_versions = _versions(self._gradients)

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered."""
        return not self._versions

    def moved(self, parameters: Sequence[Tensor]) -> bool:
        """Whether somebody has written into the parameters."""
        return self._versions != [p._version for p in parameters]

    def gradient(self) -> list[Tensor | None] | None:
        """The gradients that were noted, or ``None`` if somebody has written into them."""
        untouched = self._gradients and self._gradient_versions == _versions(self._gradients)
        return self._gradients if untouched else None


def _versions(tensors: Sequence[Tensor | None]) -> list[int]:
    return [0 if t is None else t._version for t in tensors]
