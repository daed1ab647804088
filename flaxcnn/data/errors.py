"""The error of the data package."""


class DataError(ValueError):
    """Invalid data: the message names the fault, its location and the remedy in one sentence."""
