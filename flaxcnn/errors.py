"""The errors that are meant for the user: each message is one clear sentence, told without a traceback."""

from collections.abc import Iterable


class FlaxcnnError(ValueError):
    """Something was given that cannot be used; the base of every error that flaxcnn and parity raise on purpose.

    The message says what was given, what was expected and what to do. Any other exception is a defect of the program,
    and the commands show where it came from.
    """


class InvalidArgument(FlaxcnnError):
    """An argument of a function is out of its range, or two do not go together."""


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the names it may have been meant for, or else all of them."""
    import difflib

    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    near += [
        whole
        for whole in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
        if whole not in near
    ]
    return f"did you mean {' or '.join(near[:3])}?" if near else f"choose one of {', '.join(known)}."
