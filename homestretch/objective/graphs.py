"""Forward passes without a graph, where the function can be evaluated without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Found = TypeVar("Found")


class GraphFree:
    """Evaluates without gradients, unless what is evaluated differentiates by itself.

    Models of forces and residuals of differential equations call ``torch.autograd.grad`` in their forward pass, which needs
    the graph even where no gradient of the result is asked for; and without gradients torch takes backward kernels that
    forward mode cannot pass, that of SiLU for one. The first failure tells.
    """

    _needs_graph = False

    def without_graph(self, make: Callable[[], Found]) -> Found:
        """What ``make`` returns, made without a graph where possible; detaching it is the caller's business."""
        if not self._needs_graph:
            try:
                with torch.no_grad():
                    return make()
            except RuntimeError as error:
                if not isinstance(error, NotImplementedError) and "does not require grad" not in str(error):
                    raise
                self._needs_graph = True
        with torch.enable_grad():
            return make()
