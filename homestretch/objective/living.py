"""What a function may do while it is minimised: change on a schedule, add numbers to the record, ask for the end.

All of it is optional: a function that has none of these methods is a fixed one. Whoever minimises calls the functions below
at fixed moments; what wraps a function passes them on.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from typing import Any, Protocol, TypeGuard, runtime_checkable
from weakref import WeakKeyDictionary

from homestretch.errors import PrecisionWarning

_KNOWN: WeakKeyDictionary[type, bool] = WeakKeyDictionary()  # a protocol takes long to tell, several times an iteration


@runtime_checkable
class Living(Protocol):
    """A function that takes part in the loop.

    Attributes:
        change: What happened at the latest change of ``version``, for the record.
    """

    change: str

    def advance(self) -> None:
        """An iteration is about to begin: the function may change, and raise its ``version``."""
        ...

    def measure(self, loss: float) -> dict[str, float]:
        """Numbers for the record of the iteration that ended at the current parameters with this loss."""
        ...

    def why_stop(self) -> str:
        """Why the function asks for the end; empty while it does not."""
        ...

    def finish(self) -> bool:
        """The end has come: put the parameters where the function holds them to be best; says whether they moved."""
        ...

    def diagnose(self) -> str:
        """What is known of the function that explains a search without success; empty if nothing is."""
        ...


def _lives(function: Any) -> TypeGuard[Living]:
    """Whether a function takes part in the loop, as the first one of its class did."""
    kind = type(function)
    if kind not in _KNOWN:
        _KNOWN[kind] = isinstance(function, Living)
    return _KNOWN[kind]


def advance(function: Any) -> None:
    """Tell a function that an iteration begins."""
    if _lives(function):
        function.advance()


def change_of(function: Any) -> str:
    """What changed in a function, as far as it says."""
    return function.change if _lives(function) else ""


def measure(function: Any, loss: float) -> dict[str, float]:
    """A function's own numbers at the current parameters; none from a fixed function."""
    return function.measure(loss) if _lives(function) else {}


def why_stop(function: Any) -> str:
    """Why a function asks for the end; empty while it does not."""
    return function.why_stop() if _lives(function) else ""


def finish(function: Any) -> bool:
    """Let a function choose its best parameters; says whether they moved."""
    return _lives(function) and function.finish()


def diagnose(function: Any) -> str:
    """What a function knows about a search without success."""
    return function.diagnose() if _lives(function) else ""


def not_finite(function: Any) -> str:
    """Which of a function's terms were not finite at its latest evaluation, for a message; empty if it cannot tell."""
    while isinstance(function, Wrapped):
        function = function.function
    terms = getattr(function, "last_terms", {})
    names = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
    return f" (not finite: {names})" if names and len(terms) > 1 else ""


def explain_stop(function: Any, in_vain: bool) -> None:
    """Warn with what a function knows, if its minimiser has searched in vain for a lower loss."""
    note = diagnose(function) if in_vain else ""
    if note:
        warnings.warn(note, PrecisionWarning, stacklevel=5)


class Wrapped:
    """Passes all of it on to the function inside, for wrappers that change the loss.

    Attributes:
        function: The function inside.
    """

    function: Any

    @property
    def change(self) -> str:
        """What changed in the function inside."""
        return change_of(self.function)

    def advance(self) -> None:
        """Tell the function inside that an iteration begins."""
        advance(self.function)

    def measure(self, loss: float) -> dict[str, float]:
        """The numbers of the function inside, which is told its own loss."""
        return measure(self.function, self.inner_loss(loss))

    def inner_loss(self, loss: float) -> float:
        """The loss of the function inside where the wrapper's is ``loss``."""
        return loss

    def why_stop(self) -> str:
        """Why the function inside asks for the end."""
        return why_stop(self.function)

    def finish(self) -> bool:
        """Let the function inside choose its best parameters."""
        return finish(self.function)

    def diagnose(self) -> str:
        """What the function inside knows about a search without success."""
        return diagnose(self.function)


class Recent:
    """What belonged to the latest evaluations, found again by their loss.

    A search evaluates several points and may accept another than the last one. Its loss, bit for bit, names it.

    Args:
        size: Evaluations remembered.
    """

    def __init__(self, size: int = 64) -> None:
        self._seen: deque[tuple[float, Any]] = deque(maxlen=size)

    def note(self, loss: float, content: Any) -> None:
        """Remember what belongs to a loss."""
        self._seen.append((loss, content))

    def at(self, loss: float) -> Any:
        """What belongs to ``loss`` by the newest evaluation that gave it, ``None`` if none did."""
        return next((content for seen, content in reversed(self._seen) if seen == loss), None)
