"""The errors that are meant for the user: each message is one clear sentence, told without a traceback."""


class FlaxcnnError(ValueError):
    """Something was given that cannot be used; the base of every error that flaxcnn and parity raise on purpose.

    The message says what was given, what was expected and what to do. Any other exception is a defect of the program,
    and the commands show where it came from.
    """


class InvalidArgument(FlaxcnnError):
    """An argument of a function is out of its range, or two do not go together."""
