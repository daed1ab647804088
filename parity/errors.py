"""The refusals of the instrument: each says in one sentence what is wrong and what to do about it."""


class CannotCompare(ValueError):
    """The two models cannot be compared; the message is one clear sentence (exit code 2)."""


class TraceError(CannotCompare):
    """A saved trace, capture or report is damaged, incomplete or of another format version."""


class WeightsError(CannotCompare):
    """Weights cannot be carried from one model to the other; the message lists every problem at once."""
