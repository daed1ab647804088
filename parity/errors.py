"""The refusals of the instrument: each says in one sentence what is wrong and what to do about it."""

from flaxcnn.errors import FlaxcnnError


class CannotCompare(FlaxcnnError):
    """The two models cannot be compared; the message is one clear sentence (exit code 2)."""


class OutputsDiffer(CannotCompare):
    """The two models return tensors of other shapes, so there is nothing to compare from there on.

    `cause` is an id of the catalogue where the shapes tell it, or "".
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class TraceError(CannotCompare):
    """A saved trace, capture or report is damaged, incomplete or of another format version."""


class WeightsError(CannotCompare):
    """Weights cannot be carried from one model to the other; the message lists every problem at once."""
