"""The one error of the data package."""


class DataError(ValueError):
    """Something is wrong with the data: the message says in one sentence what, where, and what to do."""
