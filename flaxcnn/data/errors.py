"""The error of the data package."""

from flaxcnn.errors import FlaxcnnError


class DataError(FlaxcnnError):
    """Invalid data: the message names the fault, its location and the remedy in one sentence."""
