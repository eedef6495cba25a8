"""The errors that a user of homestretch may want to catch.

Wrong arguments raise ``ValueError`` or ``TypeError`` at the door. The kinds below are for what only shows at run time:
data that cannot be read, checkpoints that are not ours, losses that cannot be minimised as they are.
"""

from __future__ import annotations


class HomestretchError(RuntimeError):
    """Base class of everything that homestretch raises on purpose at run time."""


class DataError(HomestretchError):
    """A data set is missing, damaged or not of the promised layout. The message names the file."""


class CheckpointError(HomestretchError):
    """A checkpoint is missing, damaged or belongs to another kind of run. The message names the file."""


class NonFiniteError(HomestretchError):
    """The loss or its gradient is not finite where it must be, for instance at the start of the convex phase."""


class NondeterministicLossError(HomestretchError):
    """Two evaluations of the loss at one point differ. The convex phase needs a fixed function."""


class UnsupportedError(HomestretchError):
    """The model, loss, device or closure lacks something the chosen method needs. The message names the remedy."""


class HomestretchWarning(UserWarning):
    """Base class of what homestretch warns about: things that still work, but seldom as hoped."""


class OverfitWarning(HomestretchWarning):
    """There are more parameters than residuals: a fit can make the residuals vanish at its points and be wrong between them."""


class PrecisionWarning(HomestretchWarning):
    """The loss has reached what rounding alone makes of it; a longer dtype goes on from there."""
